"""Several hosts that are one relay: the engine of its logs, who owns what, the agent of a host."""
