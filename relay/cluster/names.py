"""The subjects by which the agents of a cluster hear each other."""

from __future__ import annotations


def beats_of(cluster: str, host: str) -> str:
    """Return the subject of a host's signs of life; "*" for `host` is all of them."""
    return f"{cluster}.beat.{host}"


def agent_of(cluster: str, host: str) -> str:
    """Return the subject on which a host's agent is asked."""
    return f"{cluster}.agent.{host}"


def changes_of(cluster: str) -> str:
    """Return the subjects on which it is told what has changed in the bucket of all hosts."""
    return f"{cluster}.kv.>"


def copies_of(cluster: str, range_: str, host: str = "") -> str:
    """Return the subject on which copies of a range are asked for, of all or of one host."""
    return f"{cluster}.snapshot.{range_}" + (f".{host}" if host else "")
