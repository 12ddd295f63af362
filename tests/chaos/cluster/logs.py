"""The logs of a cluster as its engines keep them, read by somebody from outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from relay.cluster.access import login_of, servers_of
from relay.cluster.caller import cluster_of
from relay.cluster.jetstream import get_batch, stream_info
from relay.cluster.natswire import Wire
from relay.errors import LogDamaged
from tests.chaos.checker import Violation
from workers.log.record import decode

from .epochs import Epochs

ANSWER_S: Final = 10.0
CONNECT_S: Final = 5.0
BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 4 << 20


class Logs:
    """All logs of a cluster, each read once from its first record to its last."""

    def __init__(self, config: Path) -> None:
        """Read nothing yet; `config` is the file of the cluster."""
        self._cluster = cluster_of(config)
        self._books = [Epochs() for _ in range(self._cluster.ranges)]
        self.wrong: list[Violation] = []  # of all that was read

    def __str__(self) -> str:
        records = sum(each.records for each in self._books)
        owners = sum(each.owners for each in self._books)
        return f"{records:,} in {len(self._books)} logs, {owners} owners"

    def read(self) -> None:
        """Read what is new in each.

        Raises:
            RelayError, TimeoutError: an engine does not answer; the next call goes on from there.
        """
        cluster = self._cluster
        wire = Wire(servers_of(cluster), login_of(cluster), name="chaos", connect_s=CONNECT_S)
        try:
            for range_, books in enumerate(self._books):
                self.wrong += _read(wire, f"{cluster.name}-{range_}", books)
        finally:
            wire.close()


def _read(wire: Wire, stream: str, books: Epochs) -> Iterator[Violation]:
    last = stream_info(wire, stream, ANSWER_S).state.last_seq
    while books.follows <= last:
        batch = get_batch(wire, stream, books.follows, BATCH_RECORDS, BATCH_BYTES, ANSWER_S)
        if not batch:
            # A server that is behind has none.
            raise TimeoutError(f"{stream}: {books.follows} of {last} is not to be had")
        for stored in batch:
            try:
                record = decode(stored.payload)
            except LogDamaged as error:
                yield Violation("log", (), f"{stream} {stored.sequence}: {error}")
                return
            for what in books.read(stored.sequence, record):
                kind = "stale write" if "stale" in what else "log"
                yield Violation(kind, (), f"{stream}: {what}")
