"""A WebSocket message relay: clients, fronts, sharded workers, nothing acked is lost."""

__version__ = "0.1.0"
