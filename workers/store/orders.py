"""What an operator wants thrown away, and how a relay that runs is told: by files.

    data/orders/ID.json             the order, as `relay store purge` writes it
    data/orders/ID.worker-3.json    how far worker 3 is with it

Whoever can write there could change the stores too. The tool takes an order away when all have done
it, or when it is interrupted: then they stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from relay.disk.files import replace_file

_DIRECTORY: Final = "orders"
_OF_WORKER: Final = ".worker-"


class Order(msgspec.Struct, frozen=True):
    """What is to go: what is of `user`, a local part, or else what waits too long.

    Without a user all entries go that are older than `older_than_ms`. It is for `workers`.
    """

    user: str = ""
    older_than_ms: int = 0
    workers: list[int] = []


class Purged(msgspec.Struct):
    """How much has gone, or would go.

    Entries by their kind, and the bytes (`size`) of the messages among them; and how many messages
    to the user are `known` no more, so that a repeat counts as new.
    """

    messages: int = 0
    group_messages: int = 0
    receipts: int = 0
    size: int = 0
    known: int = 0

    @property
    def entries(self) -> int:
        """How many entries of mailboxes they are."""
        return self.messages + self.group_messages + self.receipts

    def add(self, other: Purged) -> None:
        """Count what another has counted, too."""
        self.messages += other.messages
        self.group_messages += other.group_messages
        self.receipts += other.receipts
        self.size += other.size
        self.known += other.known

    def since(self, before: Purged) -> Purged:
        """Return what was counted since it was as `before`."""
        return Purged(
            self.messages - before.messages,
            self.group_messages - before.group_messages,
            self.receipts - before.receipts,
            self.size - before.size,
            self.known - before.known,
        )


class Answer(msgspec.Struct, frozen=True):
    """How far a worker is with an order."""

    purged: Purged
    is_done: bool = False


_encode: Final = msgspec.json.Encoder().encode
_decode_order: Final = msgspec.json.Decoder(Order).decode
_decode_answer: Final = msgspec.json.Decoder(Answer).decode


class OrderFile:
    """The order ID of one data directory, and the answers to it."""

    def __init__(self, data: Path, name: str) -> None:
        self.name = name
        self._directory = data / _DIRECTORY
        self._path = self._directory / f"{name}.json"

    def write(self, order: Order) -> None:
        """Give the order.

        Raises:
            DiskError, OSError: it cannot be written.
        """
        self._directory.mkdir(mode=0o700, exist_ok=True)
        replace_file(self._path, _encode(order))

    def read(self) -> Order | None:
        """Return the order, None where it was taken away.

        Raises:
            msgspec.DecodeError: it is none.
            OSError: it cannot be read.
        """
        content = _read(self._path)
        return None if content is None else _decode_order(content)

    @property
    def stands(self) -> bool:
        """Whether it was not taken away."""
        return self._path.exists()

    def answer(self, worker: int, answer: Answer) -> None:
        """Say how far `worker` is.

        Raises:
            DiskError: it cannot be written.
        """
        replace_file(self._answer_path(worker), _encode(answer))

    def read_answer(self, worker: int) -> Answer | None:
        """Return how far `worker` is, None where it has not begun.

        Raises:
            msgspec.DecodeError: it is no answer.
            OSError: it cannot be read.
        """
        content = _read(self._answer_path(worker))
        return None if content is None else _decode_answer(content)

    def take_away(self) -> None:
        """Remove the order, then the answers, and what was not written to its end."""
        self._path.unlink(missing_ok=True)
        for path in self._directory.glob(f"{self.name}.*"):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self._directory.rmdir()  # of others there may be some

    def _answer_path(self, worker: int) -> Path:
        return self._directory / f"{self.name}{_OF_WORKER}{worker}.json"


def orders_in(data: Path) -> Iterator[OrderFile]:
    """Yield the orders of a data directory, by name."""
    for path in sorted((data / _DIRECTORY).glob("*.json")):
        if _OF_WORKER not in path.name:
            yield OrderFile(data, path.stem)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
