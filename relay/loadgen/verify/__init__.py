"""Verification: what was sent, what came of it, and what was wrong; knows no socket."""
