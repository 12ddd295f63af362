"""What is called what on the engine: streams, and subjects by which hosts and ranges are known."""

from __future__ import annotations

def stream_of(cluster: str, range_: int) -> str:
    """Return the name of the stream that is the log of a range."""
    return f"{cluster}-{range_}"


def log_of(cluster: str, range_: int) -> str:
    """Return the subject on which an owner publishes records of a range."""
    return f"{cluster}.log.{range_}"


def tail_of(cluster: str, range_: int) -> str:
    """Return the subject on which each record comes once it is in the log."""
    return f"{cluster}.tail.{range_}"


def beats_of(cluster: str, host: str) -> str:
    """Return the subject of a host's signs of life; "*" for `host` is all of them."""
    return f"{cluster}.beat.{host}"


def agent_of(cluster: str, host: str) -> str:
    """Return the subject on which a host's agent is asked."""
    return f"{cluster}.agent.{host}"


def bucket_of(cluster: str) -> str:
    """Return the name of what all hosts know alike: the bucket of keys and values."""
    return cluster
