"""The operator's tools for a data directory: check, backup, and another number of workers."""
