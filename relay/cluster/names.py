"""The subjects by which agents and admins of a cluster hear each other, and workers agents."""

from __future__ import annotations


def beats_of(cluster: str, host: str) -> str:
    """Return the subject of a host's signs of life; "*" for `host` is all of them."""
    return f"{cluster}.beat.{host}"


def agent_of(cluster: str, host: str) -> str:
    """Return the subject on which a host's agent is asked."""
    return f"{cluster}.agent.{host}"


def calls_of(cluster: str, host: str) -> str:
    """Return the subject on which it is asked whether any worker of a host is there."""
    return f"{cluster}.call.{host}"


def answers_to(cluster: str, host: str, number: str) -> str:
    """Return the subject of the answers to a call of a host's agent; "*" is every call."""
    return f"{cluster}.answer.{host}.{number}"


def admin_of(cluster: str, host: str) -> str:
    """Return the subject on which a host's admin is asked by those of other hosts."""
    return f"{cluster}.admin.{host}"


def changes_of(cluster: str) -> str:
    """Return the subjects on which it is told what has changed in the bucket of all hosts."""
    return f"{cluster}.kv.>"


def copies_of(cluster: str, range_: str, host: str = "") -> str:
    """Return the subject on which copies of a range are asked for, of all or of one host."""
    return f"{cluster}.snapshot.{range_}" + (f".{host}" if host else "")
