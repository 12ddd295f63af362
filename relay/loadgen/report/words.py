"""The words of a page, and what each means: only those that this page uses."""

from relay.loadgen.report.record import OWN, REFERENCE, RunRecord
from relay.loadgen.report.remarks import NOT_TOLD_APART
from relay.loadgen.traffic.plan import Idle, Storm, is_open_loop, phases_of
from relay.loadgen.verify.tally import (
    DELIVERY,
    DRAIN_TIME,
    FIRST_DELIVERY,
    LAST_DELIVERY,
    LATE,
    LOGIN_TIME,
    RECEIPT,
)


def legend(record: RunRecord) -> list[tuple[str, str]]:
    """Return (word, meaning), in the order in which a reader meets them."""
    scenario = record.plan.scenario
    latencies = {name for outcome in record.outcomes for name in outcome.latencies}
    has_messages = not isinstance(scenario, Idle | Storm) or (
        isinstance(scenario, Storm) and scenario.pairs > 0
    )
    is_timed = any(phase.seconds is not None for phase in phases_of(record.plan))
    told: list[tuple[str, str, bool]] = [
        ("complete", "its author holds ack 1 and the receipt of every recipient", has_messages),
        ("lost", "the relay acked it, and a recipient never got it", has_messages),
        ("receipt lost", "a recipient acked it, and the author was not told", has_messages),
        ("un-acked", "no ack 1 came", has_messages),
        (
            "open loop" if is_open_loop(scenario) else "closed loop",
            "messages leave at their times, and latency counts from those"
            if is_open_loop(scenario)
            else "the next message leaves when one is complete",
            has_messages and is_timed,
        ),
        ("CPUs busy", "CPU seconds a second, of all processes of the kind", True),
        ("waits", "how often a process slept, as it had nothing to do", True),
        ("preempted", "how often it wanted to go on, and another process got the CPU", True),
        (
            "PSS",
            "memory, in which a page that n processes share counts as 1/n; "
            f"{NOT_TOLD_APART} is too little to be told from a change in that sharing",
            True,
        ),
        (OWN, "the load processes and what leads them; no part of the server's cost", True),
        (
            REFERENCE,
            "a bare reflector of the same frames: no bus, no store, nothing it acks survives it",
            bool(record.of(REFERENCE)),
        ),
        ("ack 1", "the relay answers for the message from now on", has_messages),
        (DELIVERY, "until the recipient has it", DELIVERY in latencies),
        (FIRST_DELIVERY, "until any member of the group has it", FIRST_DELIVERY in latencies),
        (LAST_DELIVERY, "until every member of the group has it", LAST_DELIVERY in latencies),
        (RECEIPT, "until the author knows that every recipient has it", RECEIPT in latencies),
        (LOGIN_TIME, "from connecting to the first q", LOGIN_TIME in latencies),
        (DRAIN_TIME, "from connecting to the last message that waited", DRAIN_TIME in latencies),
        (LATE, "how late the generator was; it is part of the other latencies", LATE in latencies),
        ("p50, p99", "half of all were faster than p50, 99 of 100 faster than p99", True),
    ]
    return [(word, meaning) for word, meaning, is_used in told if is_used]
