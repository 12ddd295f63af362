"""Whether all members of a group saw one order (PROTOCOL 2.5, rule 3), in constant memory a member.

Each member's deliveries are chained into a number, so equal chains mean equal orders. An author
does not see its own messages: it is compared with the chain, kept for one listener, of everything
but those. Who only listens is compared directly.
"""

from typing import Final

_MASK: Final = (1 << 61) - 1
_FACTOR: Final = 1_000_003


class GroupOrder:
    """The orders that one group's members saw."""

    def __init__(self) -> None:
        self._chains: dict[str, int] = {}
        self._authors: list[str] = []
        self._listener = ""  # the first member seen that writes nothing
        self._without: dict[str, int] = {}  # the listener's chain, less one author's messages

    def writes(self, member: str) -> None:
        """Note that `member` may write; before any delivery."""
        if member not in self._without:
            self._authors.append(member)
            self._without[member] = 0

    def seen(self, member: str, author: str, stream: str, number: int) -> None:
        """Note a first delivery to `member`."""
        stamp = hash((stream, number))
        self._chains[member] = _chained(self._chains.get(member, 0), stamp)
        if not self._listener and member not in self._without:
            self._listener = member
        if member == self._listener:
            for other in self._authors:
                if other != author:
                    self._without[other] = _chained(self._without[other], stamp)

    def disagreements(self) -> list[str]:
        """Return one line for each way in which orders differ; every member has seen everything."""
        expected = self._chains.get(self._listener, 0)
        others = [
            member
            for member, chain in self._chains.items()
            if self._listener and chain != self._without.get(member, expected)
        ]
        return [f"{self._listener} and {member}" for member in others]


def _chained(chain: int, stamp: int) -> int:
    return (chain * _FACTOR + stamp) & _MASK
