"""A session's decisions, without I/O."""
