"""Other servers beside the relay: the same pair chat on one core, and what a message costs each."""
