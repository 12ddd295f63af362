"""What outlives a process: files replaced, synced and locked; the layout of a data directory."""
