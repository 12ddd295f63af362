"""A WebSocket message relay: clients, fronts, sharded workers, nothing acked is lost."""

__version__ = "0.3.0.dev0"
