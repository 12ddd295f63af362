"""Authentication: the rules of PROTOCOL 2.2, by their numbers."""

import json
import socket

from tests.outside.client import exchange_marker
from tests.outside.frames import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    EMPTY_Q,
    SENT_AT,
    Frame,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    message_id_of,
    near,
    queued_in,
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S

from .conftest import RelayStarter

REPLACED: Frame = ["Cmd", {"type": "disconnect", "kind": "replaced"}]


def test_2_2_1_a_session_is_the_canonical_user_of_the_jid_that_must_be_a_users(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    bob, alice = shared_relay.login(cast.bob), shared_relay.connect()
    alice.login(f"+{cast.alice}:4@S.WhatsApp.Net")

    alice.send_message(cast.bob, "M")

    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    bob.expect(delivery("M", author=cast.alice))

    refused: tuple[object, ...] = (
        "917069852821-1566557065@g.us",
        f"{cast.alice}@example.com",
        "@c.us",
        "",
        "a b@c.us",
        None,
        5,
        [cast.alice],
        {"jid": cast.alice},
    )
    for jid in refused:
        client = shared_relay.connect()
        client.send(["auth", {"type": "new"}, {"remoteJid": jid}])
        client.expect_failure(400)
        # The same connection may try again.
        client.send(auth_frame(cast.eve))
        client.expect(AUTH_SUCCESS, EMPTY_Q)
        client.close()


def test_2_2_2_auth_then_q_then_live_frames_and_none_in_both(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)
    before = [f"BEFORE{n}" for n in range(20)]
    after = [f"AFTER{n}" for n in range(20)]
    alice.send(action(*(element(cast.bob, message_id) for message_id in before)))
    alice.expect(*(ack_1(message_id, author=cast.alice, to=cast.bob) for message_id in before))
    bob = shared_relay.connect()
    bob.send(auth_frame(cast.bob))
    # Sent without waiting for bob's login: its front and worker meet them in whatever order.
    for message_id in after:
        alice.send_message(cast.bob, message_id)

    alice.expect(*(ack_1(message_id, author=cast.alice, to=cast.bob) for message_id in after))
    bob.expect(AUTH_SUCCESS)
    came = queued_in(bob.recv())
    tags = ["q"]
    while len(came) < len(before) + len(after):
        frame = bob.recv()
        tags.append(frame[0])
        came += queued_in(frame) if frame[0] == "q" else [frame]
    assert [message_id_of(frame) for frame in came] == before + after
    assert tags == sorted(tags, reverse=True), "a live frame came before a q"
    bob.expect_nothing()


def test_2_2_3_a_long_queue_is_split_and_a_large_element_travels_alone(
    shared_relay: Relay, cast: Cast
) -> None:
    alice = shared_relay.login(cast.alice)
    # An apostrophe is one byte in the message and seven in `data` (R5).
    swelling = {"conversation": "'" * 60_000}
    plain = {"conversation": "x" * 60_000}
    sent = [("P1", plain), ("P2", plain), ("S", swelling)]
    sent += [(f"P{number}", plain) for number in range(3, 12)]
    for message_id, message in sent:
        alice.send_message(cast.bob, message_id, message)
        alice.expect(ack_1(message_id, author=cast.alice, to=cast.bob))
    bob = shared_relay.connect()
    bob.send(auth_frame(cast.bob))
    bob.expect(AUTH_SUCCESS)

    pages: list[list[Frame]] = []
    while sum(map(len, pages)) < len(sent):
        q = bob.recv()
        frames = queued_in(q)
        assert frames, "only a sole q may be empty"
        if message_id_of(frames[0]) == "S":
            assert len(frames) == 1
            assert len(bob.last_text) > 256 * 1024
        else:
            assert len(bob.last_text) <= 256 * 1024
        pages.append(frames)

    bob.expect_nothing()
    assert len(pages) > 1
    assert [frame for page in pages for frame in page] == [
        delivery(message_id, author=cast.alice, message=message) for message_id, message in sent
    ]


def test_2_2_4_a_client_may_try_again_and_the_third_failure_closes(
    shared_relay: Relay, cast: Cast
) -> None:
    client = shared_relay.connect()
    client.send(["auth", {"type": "old"}, {"remoteJid": cast.alice}])
    client.expect_failure(400)
    client.send(auth_frame("no jid"))
    client.expect_failure(400)
    client.send(auth_frame(cast.alice))
    client.expect(AUTH_SUCCESS, EMPTY_Q)

    client = shared_relay.connect()
    third: tuple[object, ...] = (
        ["auth", {"type": None}, {"remoteJid": cast.alice}],
        ["auth", {}, {"remoteJid": cast.alice}],
        auth_frame("no jid"),
    )
    for frame in third:
        client.send(json.dumps(frame))
        client.expect_failure(400)
    client.expect_close(4401)


def test_2_2_5_a_connection_without_auth_is_closed_at_the_deadline(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[auth]\ndeadline_s = 1.0")
    alice = relay.login(ALICE)
    silent, chatty, failing = relay.connect(), relay.connect(), relay.connect()
    without_handshake = socket.create_connection(("127.0.0.1", relay.port), DEADLINE_S)
    chatty.send("?,,")
    chatty.send(action(element(ALICE, "M")))
    failing.send(auth_frame("no jid"))

    # What is no success does not extend the deadline.
    assert silent.wait_for_close() == 4401
    assert chatty.wait_for_close() == 4401
    assert failing.wait_for_close() == 4401
    with without_handshake:
        assert without_handshake.recv(1) == b""
    exchange_marker(alice, relay.login(BOB))


def test_2_2_6_other_frames_before_success_are_refused_and_not_processed(
    shared_relay: Relay, cast: Cast
) -> None:
    bob, client = shared_relay.login(cast.bob), shared_relay.connect()
    frames: tuple[Frame, ...] = (
        action(element(cast.bob, "M")),
        receipt("M", 2, author=cast.bob, by=cast.alice, t=SENT_AT),
        ["MsgInfo", {}],
        ["q", {}],
    )
    for frame in frames:
        client.send(frame)
        client.expect_error(401, tag=frame[0])

    client.login(cast.alice)

    exchange_marker(client, bob)


def test_2_2_7_a_repeated_auth_sends_everything_pending_and_keeps_the_user(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    for message_id in ("ACKED", "PENDING"):
        alice.send_message(cast.bob, message_id)
        alice.expect(ack_1(message_id, author=cast.alice, to=cast.bob))
    acked, pending = bob.recv_many(2)
    bob.ack(acked)
    alice.expect(receipt("ACKED", 2, author=cast.alice, by=cast.bob, t=SENT_AT))

    for _ in range(2):
        bob.send(auth_frame(f"{cast.bob}@c.us"))
        bob.expect(AUTH_SUCCESS)
        assert queued_in(bob.recv()) == [pending]
    bob.send(auth_frame(cast.eve))

    bob.expect_failure(405)
    bob.send_message(cast.alice, "FROM-BOB")
    bob.expect(ack_1("FROM-BOB", author=cast.bob, to=cast.alice))
    alice.expect(delivery("FROM-BOB", author=cast.bob))
    exchange_marker(alice, bob)


def test_2_2_8_takeovers_count_where_each_session_closes_at_once(
    shared_relay: Relay, cast: Cast
) -> None:
    """No session is left by which to know them; they are the user's."""
    thrown_out = 0
    for _ in range(8):
        session = shared_relay.login(cast.bob)
        other = shared_relay.connect()
        other.send(auth_frame(cast.bob))
        answer = other.recv()
        if answer == AUTH_SUCCESS:
            thrown_out += 1
            session.expect(REPLACED)
            session.expect_close(4409)
            other.close()
        else:
            assert answer[1]["code"] == 429, answer
            session.close()

    assert thrown_out == 5


def test_2_2_8_the_sixth_takeover_in_ten_seconds_is_refused(
    shared_relay: Relay, cast: Cast
) -> None:
    # A login that finds no live session is no takeover.
    for _ in range(8):
        shared_relay.login(cast.bob).close()
    session = shared_relay.login(cast.bob)
    for _ in range(5):
        newer = shared_relay.login(cast.bob)
        session.expect(REPLACED)
        session.expect_close(4409)
        session = newer

    refused = shared_relay.connect()
    refused.send(auth_frame(cast.bob))

    failure = refused.expect_failure(429)
    assert near(round(failure[1]["retryAfter"]), 5, within_s=5)
    alice = shared_relay.login(cast.alice)
    exchange_marker(alice, session)
