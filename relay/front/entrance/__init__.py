"""Who comes in: the port, what is asked before a connection is a client's, and who is sent away."""
