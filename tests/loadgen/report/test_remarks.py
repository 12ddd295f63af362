"""What a report says in words."""

from __future__ import annotations

from msgspec.structs import replace

from relay.errors import Refusal
from relay.front.limits import SessionLimits
from relay.front.senders import Senders
from relay.loadgen.report.remarks import fault_lines
from relay.loadgen.verify.faults import LOST, REFUSED, Faults
from relay.settings.tables import Settings

from .records import outcome

HINT = "--messages-per-s 0"


def lines_of(kind: str, what: str) -> str:
    faults = Faults()
    faults.add(kind, what)
    return "\n".join(fault_lines([replace(outcome("relay", 100.0), faults=faults)]))


def test_a_load_that_the_quota_of_an_author_refuses_is_told_how_to_lift_it() -> None:
    element = Refusal(400, "", of_content=True)
    refusal = SessionLimits(Settings(), Senders()).over_quota(element, 1000)

    lines = lines_of(REFUSED, f"u1: {refusal.code} {refusal.reason} (id)")

    assert HINT in lines
    assert refusal.reason in lines


def test_what_else_is_refused_or_lost_has_no_such_advice() -> None:
    assert HINT not in lines_of(REFUSED, "u1: 429 more than 2 frames a second (id)")
    assert HINT not in lines_of(REFUSED, "u1: 507 200000 messages of this author wait (id)")
    assert HINT not in lines_of(LOST, "u1: 429 messages")
