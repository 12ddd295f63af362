"""What crosses ZeroMQ between fronts and workers, and how a link keeps it until confirmed."""
