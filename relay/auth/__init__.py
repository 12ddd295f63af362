"""Who may come in: a contract, a module a mode, and what they look at."""
