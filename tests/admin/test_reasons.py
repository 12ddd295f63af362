"""Why a user gets no messages, in words."""

from __future__ import annotations

from typing import Any

import pytest

from relay.admin.reasons import PATIENCE_MS, reasons
from relay.auth.banned import Ban
from relay.auth.revoked import UserRevoked
from relay.inquiries.people import AuthorWaiting, MailboxSeen
from relay.settings.tables import MailboxSettings

NOW_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
LIMITS = MailboxSettings(max_entries=400, max_bytes=1 << 20, author_share=0.25)
WAITS: dict[str, Any] = {"messages": 3, "size": 300, "oldest_message_ms": NOW_MS - HOUR_MS}


def said(
    ban: Ban | None = None,
    *,
    revocation: UserRevoked | None = None,
    since_ms: int = 0,
    **box: Any,
) -> list[str]:
    whole = MailboxSeen(**{"messages": 0, "size": 0, "receipts": 0, **box})
    return reasons(whole, ban, LIMITS, revocation=revocation, since_ms=since_ms, now_ms=NOW_MS)


def test_one_who_is_thrown_out_is_told_first_with_who_did_it_and_why() -> None:
    ban = Ban("x", NOW_MS - 2 * HOUR_MS, "socket", "spam")
    first, second = said(ban, **WAITS)

    assert first.startswith("thrown out 2h 0m ago by socket, spam: logins are refused")
    assert second.startswith("not connected")
    assert said(ban)[1] == "not connected, and no message waits"


def test_one_whose_tokens_were_revoked_is_told_so_unless_a_newer_one_has_let_him_in() -> None:
    revocation = UserRevoked(
        user="x", before_s=1, since_ms=NOW_MS - HOUR_MS, by="socket", reason="stolen"
    )

    first, second = said(revocation=revocation, **WAITS)

    assert first.startswith("its tokens were revoked 1h 0m ago by socket, stolen: ")
    assert second.startswith("not connected")
    assert not [each for each in said(revocation=revocation, state="LIVE") if "revoked" in each]


def test_one_who_is_away_is_told_for_how_long_at_least() -> None:
    (only,) = said(**WAITS)
    assert only.startswith("not connected")
    assert "1h 0m" in only


def test_of_one_for_whom_nothing_waits_the_spelling_is_doubted() -> None:
    (only,) = said()
    assert "Is it spelled right?" in only


@pytest.mark.parametrize("waits", [{"messages": 400}, {"size": 1 << 20}])
def test_a_full_mailbox_is_told_before_whether_he_is_there(waits: dict[str, int]) -> None:
    full, _ = said(**{**WAITS, **waits})
    assert full.startswith("the mailbox is full")
    assert "507" in full


@pytest.mark.parametrize(("messages", "size", "is_full"), [(100, 9, True), (99, 9, False)])
def test_an_author_who_has_filled_his_share_is_named(
    messages: int, size: int, is_full: bool
) -> None:
    found = said(**WAITS, authors=[AuthorWaiting("bob", messages, size)])
    named = [each for each in found if each.startswith("bob@s.whatsapp.com has filled its share")]
    assert len(named) == is_full


def test_a_client_that_does_not_ack_is_told_once_acks_are_late() -> None:
    late = {**WAITS, "oldest_message_ms": NOW_MS - PATIENCE_MS - 1}
    soon = {**WAITS, "oldest_message_ms": NOW_MS - PATIENCE_MS}

    assert "does not ack" in said(state="LIVE", **late)[0]
    assert "just now" in said(state="LIVE", **soon)[0]
    # However long it waited: the client has had it since the login.
    assert "just now" in said(state="LIVE", since_ms=NOW_MS - PATIENCE_MS, **WAITS)[0]
    assert "does not ack" in said(state="LIVE", since_ms=NOW_MS - PATIENCE_MS - 1, **WAITS)[0]


def test_receipts_that_wait_are_no_reason() -> None:
    # They wait for the next frame of a client, which may say nothing for hours.
    (only,) = said(state="LIVE", receipts=5, oldest_ms=NOW_MS - HOUR_MS)
    assert only.startswith("connected, and has acked")


@pytest.mark.parametrize(("state", "where"), [("", "not connected: 7"), ("LIVE", "connected: 7")])
def test_messages_behind_more_receipts_than_are_looked_at_are_told(state: str, where: str) -> None:
    (only,) = said(state=state, messages=7, receipts=900)
    assert only.startswith(where)


@pytest.mark.parametrize(
    ("state", "word"),
    [("PAUSED", "does not read"), ("STARVED", "front is busy"), ("READING", "being sent")],
)
def test_what_holds_a_reader_back_is_told(state: str, word: str) -> None:
    (only,) = said(state=state, **WAITS)
    assert word in only
