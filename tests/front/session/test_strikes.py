"""Malformed frames that end a session, and rates."""

from __future__ import annotations

from relay.bus.envelopes import (
    CloseSession,
)
from relay.errors import Refusal
from tests import plain
from tests.front.session.harness import (
    BOB,
    FIRST_REQUEST,
    NUMBER,
    SENT_AT,
    Client,
    ack_1,
    ack_frame,
    action,
    error_codes,
    logged_in,
    settings_with,
)


def test_r28_the_20th_malformed_frame_in_the_window_closes_the_connection(alice: Client) -> None:
    alice.says(*[b"?"] * 19)
    assert alice.port.closed is None
    alice.says(b"?", b"?,,")

    assert len(alice.frames()) == 20
    assert alice.port.close_code == 1008
    assert alice.requests() == [CloseSession(NUMBER)]


def test_r28_old_strikes_are_forgotten(alice: Client) -> None:
    alice.says(*[b"?"] * 19)
    alice.now_ms += 60_000
    alice.says(*[b"?"] * 19)
    assert alice.port.closed is None
    alice.now_ms += 59_999
    alice.says(b"?")
    assert alice.port.close_code == 1008


def test_r28_unauthenticated_frames_are_strikes(client: Client) -> None:
    client.says(*[action("1")] * 10, *[ack_frame()] * 10)

    assert client.port.close_code == 1008


def test_r28_a_refused_message_is_no_strike(alice: Client) -> None:
    alice.says(*[action("1", to="?")] * 50)

    assert len(alice.frames()) == 50
    assert alice.port.closed is None


def test_a_fault_that_the_connection_found_is_a_strike_too() -> None:
    alice = logged_in(limits={"malformed_frames": 2})
    alice.refuses(Refusal(400, "not UTF-8"))
    assert error_codes(alice.frames()) == [(400, "", "")]
    alice.says(b"?")
    assert alice.port.close_code == 1008
    alice.refuses(Refusal(400, "not UTF-8"))


def test_what_is_refused_for_its_form_or_size_is_counted_by_its_code() -> None:
    alice = logged_in(limits={"ids_per_ack": 2, "message_bytes": 300})
    too_many, large = ["Msg", ack_frame()[1] | {"id": ["1", "2", "3"]}], action("2")
    large[2][0]["message"]["conversation"] = "x" * 300

    alice.says(b"?", b"[1]", too_many, action("1", to="?"), large)

    assert [code for code, _, _ in error_codes(alice.frames())] == [400, 400, 413, 400, 413]
    assert alice.port.counted == {
        "frames_refused_400": 2,
        "frames_refused_413": 1,
        "messages_refused": 2,
    }


def test_without_a_rate_any_number_of_frames_is_taken(alice: Client) -> None:
    for number in range(500):
        alice.says(action(str(number)))
        alice.hears(plain.stored(FIRST_REQUEST + number, SENT_AT))

    assert alice.frames() == [ack_1(str(number), BOB) for number in range(500)]
    assert len(alice.requests()) == 500


def test_beyond_the_burst_sends_and_acks_get_429() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(action("1"), ack_frame(), action("2"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT), plain.stored(FIRST_REQUEST + 1, SENT_AT))
    alice.frames()
    alice.requests()

    alice.says(action("3", "4"), ack_frame(), ["MsgInfo", ack_frame()[1]])

    written = alice.frames()
    assert error_codes(written) == [
        (429, "action", "3"),
        (429, "action", "4"),
        (429, "Msg", ""),
        (429, "MsgInfo", ""),
    ]
    assert all(body["retryAfter"] >= 1 for _, body in written)
    assert alice.port.counted == {"frames_too_fast": 3}
    assert alice.requests() == []
    assert alice.port.closed is None


def test_2_3_2_the_rate_comes_behind_the_shape_and_before_what_it_holds() -> None:
    alice = logged_in(limits={"frames_per_s": 0.1, "frames_burst": 1})
    alice.says(action("1"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    alice.frames()
    no_message, no_jid = action("2"), action("3")
    del no_message[2][0]["message"]
    no_jid[2][0]["key"]["remoteJid"] = "nobody@example.com"

    alice.says(no_message, no_jid)

    assert error_codes(alice.frames()) == [(400, "action", "2"), (429, "action", "3")]


def test_tokens_come_back_at_the_rate_up_to_the_burst() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(*[ack_frame()] * 4)
    assert len(alice.frames()) == 1
    alice.now_ms += 1000
    alice.says(*[ack_frame()] * 4)
    assert len(alice.frames()) == 2
    alice.now_ms += 1_000_000
    alice.says(*[ack_frame()] * 4)
    assert len(alice.frames()) == 1


def test_a_clock_that_goes_back_costs_no_tokens() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(ack_frame())
    alice.now_ms -= 3_600_000
    alice.says(ack_frame(), ack_frame())

    assert alice.frames() == []


def test_a_rate_that_is_set_later_holds_from_then_on(alice: Client) -> None:
    alice.says(*[ack_frame()] * 4)

    alice.session.adopt(settings_with(limits={"frames_per_s": 2.0, "frames_burst": 3}))

    alice.says(*[ack_frame()] * 4)
    assert error_codes(alice.frames()) == [(429, "Msg", "")]


def test_a_rate_that_is_lifted_holds_nobody_back_any_more() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(*[ack_frame()] * 3)

    alice.session.adopt(settings_with())

    alice.says(*[ack_frame()] * 4)
    assert alice.frames() == []


def test_fewer_malformed_frames_may_be_allowed_later(alice: Client) -> None:
    alice.session.adopt(settings_with(limits={"malformed_frames": 2}))

    alice.says(["?"], ["?"])

    assert alice.port.close_code == 1008


def test_a_refusal_for_the_rate_comes_in_its_turn() -> None:
    alice = logged_in(limits={"frames_per_s": 0.1, "frames_burst": 1})
    alice.says(action("1"), action("2"))
    assert alice.frames() == []
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    first, second = alice.frames()
    assert first == ack_1("1")
    assert error_codes([second]) == [(429, "action", "2")]
    assert second[1]["retryAfter"] == 10
