"""Who has how much of one mailbox, for one that holds more than any single author may have (2.7).

Those with most are known by name, exactly. Of all others together only a bound is kept: no one of
them has more. So a mailbox of ten thousand authors takes no more memory than one of twenty. When
the bound reaches a share, the mailbox is read again; until then as many must come as make half a
share, so that costs a few entries a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from relay.bus.envelopes import NO_SEQ, Seq
from workers.shard.room import Room


class Part:
    """Some messages of a mailbox: how many, of how many bytes, and where a search for them begins.

    None of them is left up to `searched`. When all up to `looked_to` were last looked at, there
    were `found` messages of `found_size` bytes; by now there may be fewer.
    """

    __slots__ = ("found", "found_size", "looked_to", "messages", "searched", "size")

    def __init__(self, messages: int = 0, size: int = 0) -> None:
        self.messages = messages
        self.size = size
        self.searched = NO_SEQ
        self.looked_to = NO_SEQ
        self.found = self.found_size = 0

    def is_full(self, length: int, room: Room) -> bool:
        """Tell whether `length` bytes more are over a share; one message may be of any size."""
        return self.messages > 0 and (
            self.messages >= room.share_entries or self.size + length > room.share_bytes
        )

    def is_vain(self, up_to: Seq, messages: int, size: int) -> bool:
        """Tell whether it is known that up to there not that much can be let go."""
        return self.searched >= up_to or (
            self.looked_to == up_to and (self.found < messages or self.found_size < size)
        )


class Shares:
    """The parts of a mailbox, by author."""

    __slots__ = ("_named", "_others")

    def __init__(self, named: Mapping[str, Part], others: Part) -> None:
        self._named = dict(named)
        self._others = others

    @classmethod
    def of(cls, messages: Iterable[tuple[str, int]], room: Room) -> Self:
        """Count all messages of a mailbox, given as (author, bytes)."""
        parts: dict[str, Part] = {}
        for author, length in messages:
            part = parts.get(author)
            if part is None:
                part = parts[author] = Part()
            part.messages += 1
            part.size += length
        if len(parts) <= room.named:
            return cls(parts, Part())

        def fullness(author: str) -> float:
            part = parts[author]
            return max(part.messages / room.share_entries, part.size / room.share_bytes)

        order = sorted(parts, key=fullness, reverse=True)
        rest = [parts[author] for author in order[room.named :]]
        others = Part(max(part.messages for part in rest), max(part.size for part in rest))
        return cls({author: parts[author] for author in order[: room.named]}, others)

    def must_count(self, author: str, length: int, room: Room) -> bool:
        """Tell whether only another count can say if `length` bytes more are over his share."""
        return author not in self._named and self._others.is_full(length, room)

    def full(self, author: str, length: int, room: Room) -> Part | None:
        """Return the part of an author who may have no message more, of `length` bytes."""
        part = self._named.get(author)
        return part if part is not None and part.is_full(length, room) else None

    def by_most(self, *, in_bytes: bool) -> Iterator[tuple[str, Part]]:
        """Yield the authors that are known by name, those with most first."""

        def amount(item: tuple[str, Part]) -> int:
            return item[1].size if in_bytes else item[1].messages

        yield from sorted(self._named.items(), key=amount, reverse=True)

    def add(self, author: str, length: int) -> None:
        """Note that a message was added."""
        part = self._named.get(author, self._others)
        part.messages += 1
        part.size += length

    def remove(self, author: str, length: int) -> None:
        """Note that a message was removed."""
        part = self._named.get(author)
        if part is not None:
            part.messages -= 1
            part.size -= length
