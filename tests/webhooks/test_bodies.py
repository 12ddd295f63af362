"""What is posted: the same for the same events, and read by whoever reads JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relay.protocol import frames
from relay.webhooks.bodies import BATCH, Noted, body_of, body_of_test
from relay.webhooks.events import (
    Event,
    GroupChanged,
    MailboxFull,
    MessageQueued,
    Place,
    UserOffline,
    UserOnline,
    What,
    decode_event,
    encode,
    id_of,
    key_of,
    place_of,
)

LOCALS = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
COUNTS = st.integers(0, 1 << 40)
WHATS: st.SearchStrategy[What] = st.one_of(
    st.builds(MessageQueued, LOCALS, st.just("") | LOCALS, TEXTS, COUNTS, COUNTS),
    st.builds(UserOnline),
    st.builds(UserOffline, COUNTS),
    st.builds(GroupChanged, st.sampled_from(["created", "changed", "deleted"]), TEXTS, COUNTS),
    st.builds(MailboxFull, LOCALS, st.just("") | LOCALS, TEXTS, st.booleans()),
)
PLACES = st.builds(Place, st.integers(1, (1 << 53) - 1), LOCALS)
NOTED = st.builds(Noted, PLACES, st.builds(Event, st.integers(0, 1 << 42), WHATS))


@given(NOTED)
def test_an_event_is_kept_as_it_was(noted: Noted) -> None:
    assert decode_event(encode(noted.event)) == noted.event
    assert place_of(noted.place.owner, key_of(noted.place)) == noted.place


@given(NOTED)
def test_one_event_is_one_body_under_its_own_id(noted: Noted) -> None:
    name, body = body_of([noted])
    told = json.loads(body)

    assert name == id_of(noted.place) == told["id"]
    assert "." not in name
    assert name.isascii()
    assert told["seq"] == noted.place.seq
    at = datetime.fromisoformat(told["timestamp"])
    assert at.tzinfo == UTC
    assert round(at.timestamp() * 1000) == noted.event.at_ms
    assert told["type"] in (
        *("message.queued", "user.online", "user.offline", "group.changed", "mailbox.full"),
    )


@given(st.lists(NOTED, min_size=2, max_size=5))
def test_several_are_a_list_under_an_id_of_their_own(noted: list[Noted]) -> None:
    name, body = body_of(noted)
    told = json.loads(body)

    assert told["type"] == BATCH
    assert [each["id"] for each in told["data"]["events"]] == [id_of(e.place) for e in noted]
    assert body_of(noted) == (name, body)
    assert body_of(noted[:-1])[0] != name


@given(PLACES, PLACES)
def test_no_two_places_have_one_id(one: Place, other: Place) -> None:
    assert (id_of(one) == id_of(other)) == (one == other)


def test_a_message_is_told_with_its_text_where_that_was_kept() -> None:
    frame = frames.delivered_to_user(
        message_id="X1",
        author="a1",
        time_s=7,
        message=b'{"conversation":"hi"}',
        key_extra=b"",
        extra=b"",
    )
    noted = Noted(Place(1, "b1"), Event(7000, MessageQueued("a1", "", "X1", 7, 90, frame)))

    data = json.loads(body_of([noted])[1])["data"]
    assert data == {
        "user": "b1@s.whatsapp.com",
        "author": "a1@s.whatsapp.com",
        "group": None,
        "id": "X1",
        "messageTimestamp": 7,
        "size": 90,
        "message": {"conversation": "hi"},
    }
    without = msgspec.structs.replace(noted.event.what, frame=b"")
    body = body_of([Noted(noted.place, Event(7000, without))])[1]
    assert "message" not in json.loads(body)["data"]


def test_a_test_tells_nothing() -> None:
    name, body = body_of_test("abc", 1000)

    assert name == "tst_abc"
    assert json.loads(body) == {
        "type": "webhook.test",
        "timestamp": "1970-01-01T00:00:01.000Z",
        "data": {},
    }
