"""The logs of a cluster as its engines keep them, read by somebody from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from relay.cluster.access import login_of, servers_of
from relay.cluster.asking import cluster_of
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


def read_logs(config: Path) -> tuple[list[Violation], str]:
    """Read every log from its first record to its last; return what is wrong, and how much it was.

    Raises:
        RelayError, TimeoutError: the engines do not answer.
    """
    cluster = cluster_of(config)
    wrong: list[Violation] = []
    records = owners = 0
    wire = Wire(servers_of(cluster), login_of(cluster), name="chaos", connect_s=CONNECT_S)
    try:
        for range_ in range(cluster.ranges):
            books = Epochs()
            wrong += _read(wire, f"{cluster.name}-{range_}", books)
            records += books.records
            owners += books.owners
    finally:
        wire.close()
    return wrong, f"{records:,} in {cluster.ranges} logs, {owners} owners"


def _read(wire: Wire, stream: str, books: Epochs) -> list[Violation]:
    last = stream_info(wire, stream, ANSWER_S).state.last_seq
    wrong = []
    while books.follows <= last:
        batch = get_batch(wire, stream, books.follows, BATCH_RECORDS, BATCH_BYTES, ANSWER_S)
        if not batch:
            wrong.append(Violation("log", (), f"{stream}: {books.follows} of {last} is missing"))
            break
        for stored in batch:
            try:
                record = decode(stored.payload)
            except LogDamaged as error:
                wrong.append(Violation("log", (), f"{stream} {stored.sequence}: {error}"))
                return wrong
            wrong += [
                Violation("stale write" if "stale" in what else "log", (), f"{stream}: {what}")
                for what in books.read(stored.sequence, record)
            ]
    return wrong
