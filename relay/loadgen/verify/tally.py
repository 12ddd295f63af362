"""What happened in an interval: counts, and latencies in whole microseconds by name."""

from typing import Final

import msgspec

ACK: Final = "send → ack 1"
DELIVERY: Final = "send → delivery"
FIRST_DELIVERY: Final = "send → first member"
LAST_DELIVERY: Final = "send → last member"
RECEIPT: Final = "send → receipt"
LOGIN_TIME: Final = "login"
DRAIN_TIME: Final = "login → drained"
LATE: Final = "sent late by"

LATENCIES: Final = (
    ACK,
    DELIVERY,
    FIRST_DELIVERY,
    LAST_DELIVERY,
    RECEIPT,
    LOGIN_TIME,
    DRAIN_TIME,
    LATE,
)


class Counts(msgspec.Struct):
    """Events since the last look; `completed` is what throughput and cost are told by."""

    sent: int = 0
    stored: int = 0  # acks 1
    delivered: int = 0  # first deliveries, of all members of a group
    receipts: int = 0
    completed: int = 0  # messages whose author holds ack 1 and every receipt
    logins: int = 0
    reads_sent: int = 0
    reads_arrived: int = 0
    redelivered: int = 0  # again at a new login, as the protocol allows
    repeated: int = 0  # acks and receipts again, where the protocol allows it
    foreign: int = 0  # messages of other runs; acked and otherwise ignored
    disconnects: int = 0  # connections that the relay ended
    failed_connects: int = 0

    def add(self, others: "Counts") -> None:
        """Add the events of another process or interval."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(others, name))

    @property
    def are_progress(self) -> bool:
        """Whether anything happened that brings a run nearer to its end."""
        return bool(self.sent or self.stored or self.delivered or self.receipts or self.logins)


class Tally:
    """Counts and latencies of the interval under way; the ledger and the sessions write here."""

    __slots__ = ("counts", "latencies")

    def __init__(self) -> None:
        self.counts = Counts()
        self.latencies: dict[str, list[int]] = {name: [] for name in LATENCIES}

    def take(self) -> tuple[Counts, dict[str, list[int]]]:
        """Return what was noted since the last call, and begin anew."""
        taken = self.counts, {name: values for name, values in self.latencies.items() if values}
        self.__init__()  # type: ignore[misc]
        return taken
