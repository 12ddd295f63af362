"""The supervisor: it starts the relay's processes, watches them, renews them, stops them."""
