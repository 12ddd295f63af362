"""One direction of a link: batches are numbered, kept until confirmed, bounded in bytes.

ZeroMQ drops what it holds for a peer that dies. So the sender keeps what must not be lost until the
receiver confirms the batch, and sends it again to the peer's next incarnation; the receiver handles
repeats without effect. Pure: the caller encodes and sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")


class _Sent(NamedTuple, Generic[Item]):
    number: int
    size: int
    keep: tuple[Item | None, ...]
    begun: int = 0  # items of it that were confirmed already


class Outgoing(Generic[Item]):
    """The batches that one side has sent and the other has not confirmed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sent: deque[_Sent[Item]] = deque()
        self._number = 0
        self.unconfirmed_bytes = 0

    @property
    def next_number(self) -> int:
        """The number that the next batch must carry, from 1."""
        return self._number + 1

    @property
    def is_full(self) -> bool:
        """Whether the credit is used up; the caller stops what feeds the link (I6)."""
        return self.unconfirmed_bytes >= self._max_bytes

    def sent(self, size: int, keep: tuple[Item | None, ...] = ()) -> None:
        """Note that batch `next_number` of `size` bytes left.

        `keep` has its items, None for each that is not to be repeated.
        """
        self._number += 1
        self._sent.append(_Sent(self._number, size, keep))
        self.unconfirmed_bytes += size

    def confirm(self, number: int, begun: int = 0) -> list[tuple[Item | None, ...]]:
        """Forget every batch up to `number`, and `begun` items of the next; return what was kept.

        Confirmations are cumulative and may repeat.
        """
        confirmed = []
        while self._sent and self._sent[0].number <= number:
            batch = self._sent.popleft()
            self.unconfirmed_bytes -= batch.size
            confirmed.append(batch.keep)
        if begun and self._sent:
            batch = self._sent[0]
            if batch.number == number + 1 and begun > batch.begun:
                count = begun - batch.begun
                confirmed.append(batch.keep[:count])
                self._sent[0] = batch._replace(keep=batch.keep[count:], begun=begun)
        return confirmed

    def unconfirmed(self) -> Iterator[Item]:
        """Yield in order what must be sent again to the peer's next incarnation."""
        for batch in self._sent:
            for item in batch.keep:
                if item is not None:
                    yield item

    def restart(self) -> None:
        """Begin anew with the peer's next incarnation; nothing is kept."""
        self._sent.clear()
        self._number = 0
        self.unconfirmed_bytes = 0


class Incoming:
    """What one side has received and owes a confirmation for."""

    def __init__(self) -> None:
        self.received = 0
        self._unreported_bytes = 0

    def accept(self, number: int, size: int) -> bool:
        """Note batch `number`; False if it came before, so that the caller can count it."""
        if number <= self.received:
            return False
        self.received = number
        self._unreported_bytes += size
        return True

    def report(self) -> int:
        """Return the number to confirm with a batch that leaves now."""
        self._unreported_bytes = 0
        return self.received

    def owes(self, threshold: int) -> bool:
        """Whether so much came unconfirmed that a batch of nothing else is worth sending."""
        return self._unreported_bytes >= threshold

    def restart(self) -> None:
        """Begin anew with the peer's next incarnation."""
        self.received = 0
        self._unreported_bytes = 0
