"""Several hosts beside one: what a message costs, and what a host that goes costs its users."""
