"""The protocol without I/O: addresses, frames, sessions, timers."""
