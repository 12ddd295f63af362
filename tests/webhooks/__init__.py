"""Events: what is noted, how it is written, and that it is signed."""
