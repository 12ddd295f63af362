"""Running: starts servers and load processes, leads them through a plan, gathers the record."""
