"""What a worker of several hosts does wrong: as the owner of a range, or as its standby."""

from __future__ import annotations

import time
from collections.abc import Iterable

from relay.cluster.natswire import Message, Wire
from workers.log.claim import ClaimStep
from workers.log.reader import LogReader
from workers.log.stream import Acked, Refused, Stream
from workers.log.writer import Found, Publish, Step, Writer
from workers.standby import Standby
from workers.store.journal import Journal

from . import Patch

# What a majority takes where it is farther away. On one machine few kills would strike meanwhile.
COMMIT_S = 0.02


def no_fence(patch: Patch) -> None:
    """Publish behind whatever is there, and count it as stored."""
    found = Writer.found
    wire_publish = Wire.publish

    def publish(stream: Stream, step: Publish) -> None:
        wire = stream._there
        inbox = wire.new_inbox()
        stream._published[inbox] = step.number
        wire_publish(wire, stream._subject, step.data, reply=inbox)
        wire.flush()

    def answer(stream: Stream, number: int, message: Message) -> Acked | Refused:
        return Acked(number)

    def found_nobody_else(writer: Writer, record: Found, now_s: float) -> list[Step]:
        if record.epoch > writer.epoch or record.number > writer.committed:
            writer._asked = None
            return writer._send_again(now_s)
        return found(writer, record, now_s)

    patch(Stream, "publish", publish)
    patch(Stream, "_answer", answer)
    patch(Writer, "found", found_nobody_else)


class _Later:
    """A log that says it has what it only remembers."""

    refusal = ""
    confirmed = 0

    def __init__(self) -> None:
        self.said: list[tuple[int, bytes]] = []

    def append(self, number: int, payload: bytes) -> int:
        """Remember it."""
        self.said.append((number, payload))
        return number


def fold_unconfirmed(patch: Patch) -> None:
    """Keep a record, to be folded in with the rest, while the log does not have it yet."""
    commit = Journal.commit

    def keep_and_commit(journal: Journal) -> None:
        log, later = journal._log, _Later()
        journal._log = later
        commit(journal)
        journal._log = log
        while journal._unconfirmed:
            journal._append(journal._unconfirmed.popleft())
        for number, payload in later.said:
            assert log is not None, "a standby has no records of its own"
            time.sleep(COMMIT_S)
            log.append(number, payload)

    patch(Journal, "commit", keep_and_commit)


def lag(patch: Patch) -> None:
    """Follow no tail, so that a standby asks what there is every two seconds."""
    patch(Stream, "follow", lambda stream: None)


def no_catch_up(patch: Patch) -> None:
    """Take over with whatever a standby has: what it lacks counts, and says nothing."""
    carry_out, take = Standby._carry_out, LogReader.take
    claiming: set[int] = set()  # readers

    def carry_out_blind(standby: Standby, steps: Iterable[ClaimStep]) -> None:
        claiming.add(id(standby._reader))
        carry_out(standby, steps)
        if standby._claim is None:
            claiming.clear()

    def take_nothing(reader: LogReader, number: int, data: bytes) -> bytes:
        payload = take(reader, number, data)
        return b"" if id(reader) in claiming else payload

    lag(patch)
    patch(Standby, "_carry_out", carry_out_blind)
    patch(LogReader, "take", take_nothing)


SABOTAGES = {
    "no-fence": no_fence,
    "fold-unconfirmed": fold_unconfirmed,
    "no-catch-up": no_catch_up,
    "early-trim": lag,
}
