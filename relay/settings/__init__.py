"""Settings: what an operator may tune, where it comes from, and how a mistake is told."""
