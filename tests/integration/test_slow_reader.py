"""A client that stops reading costs no one else anything, and itself at most the connection."""

import time

import pytest

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    SENT_AT,
    ack_1,
    check_error,
    delivery,
    message_id_of,
    queued_in,
    receipt,
)
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

MIB = 1024 * 1024
# 12 MiB: more than the kernel's buffers and the relay's take together.
MESSAGE = {"conversation": "x" * 48 * 1024}
COUNT = 250


def fill(relay: Relay) -> tuple[SheetClient, SheetClient, list[str]]:
    """Send more to Bob, who does not read, than fits on the way; return Alice, Bob and the ids."""
    alice = relay.login(ALICE)
    bob = relay.connect(receive_buffer_bytes=4096)
    bob.login(BOB)
    ids = [f"M{number:03}" for number in range(COUNT)]
    for message_id in ids:
        alice.send_message(BOB, message_id, MESSAGE)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    return alice, bob, ids


def test_a_reader_that_stops_and_goes_on_gets_everything_once_and_in_order(relay: Relay) -> None:
    carol, eve = relay.logged_in(CAROL, EVE)
    before = relay.memory_bytes()
    alice, bob, ids = fill(relay)

    # What does not fit waits on disk, not in memory, and others are served meanwhile.
    assert relay.memory_bytes() - before < 64 * MIB
    exchange_marker(carol, eve)

    assert [message_id_of(frame) for frame in bob.recv_many(len(ids))] == ids
    exchange_marker(alice, bob)


def test_a_reader_that_stays_away_is_closed_with_1013_and_loses_nothing(
    start_relay: RelayStarter,
) -> None:
    blocked_s = 1.0
    relay = start_relay(config=f"[flow]\nwrite_blocked_s = {blocked_s}")
    carol, eve = relay.logged_in(CAROL, EVE)
    began = time.monotonic()
    alice, bob, ids = fill(relay)
    # By now, and at the earliest at the start, the socket took its last byte.
    filled = time.monotonic()

    def is_overdue() -> bool:
        exchange_marker(carol, eve)
        return time.monotonic() > filled + blocked_s + 0.2

    poll_for("the reader's time is over", is_overdue)
    came = []
    try:
        while True:
            came.append(bob.recv())
    except ConnectionOver as over:
        code = over.code
    assert [message_id_of(frame) for frame in came] == ids[: len(came)]
    assert len(came) < len(ids)
    # On a machine so slow the connection may have been cut before its close frame was read.
    assert code == 1013 or (code == 1006 and filled - began > 2.0)

    bob = relay.connect()
    queued = [frame for page in bob.login_pages(BOB, len(ids)) for frame in page]
    assert [message_id_of(frame) for frame in queued] == ids
    exchange_marker(alice, bob)


def test_a_login_whose_queue_is_not_read_blocks_no_one(relay: Relay) -> None:
    alice = relay.login(ALICE)
    ids = [f"M{number:03}" for number in range(COUNT)]
    for message_id in ids:
        alice.send_message(BOB, message_id, MESSAGE)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    before = relay.memory_bytes()
    bob = relay.connect(receive_buffer_bytes=4096)

    queued = list(bob.login(BOB))

    exchange_marker(alice, relay.login(CAROL))
    assert relay.memory_bytes() - before < 64 * MIB
    while len(queued) < len(ids):
        queued += queued_in(bob.recv())
    assert [message_id_of(frame) for frame in queued] == ids
    exchange_marker(alice, bob)


def ack_one(alice: SheetClient, bob: SheetClient, message_id: str) -> None:
    """Make room in Bob's queue for a marker."""
    bob.ack(delivery(message_id, author=ALICE))
    alice.expect(receipt(message_id, 2, author=ALICE, by=BOB, t=SENT_AT))


def test_a_full_queue_evicts_nothing_that_a_slow_reader_has_not_read(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[mailbox]\nmax_entries = 100\nauthor_share = 1.0")
    alice = relay.login(ALICE)
    bob = relay.connect(receive_buffer_bytes=4096)
    bob.login(BOB)

    accepted = []
    for number in range(COUNT):
        alice.send_message(BOB, f"M{number:03}", MESSAGE)
        answer = alice.recv()
        if answer[0] == "Msg":
            accepted.append(message_id_of(answer))
        else:
            check_error(answer, 507, message_id=f"M{number:03}")

    assert len(accepted) < COUNT, "the queue was never full"
    assert [message_id_of(frame) for frame in bob.recv_many(len(accepted))] == accepted
    ack_one(alice, bob, accepted[0])
    exchange_marker(alice, bob)


def test_a_full_queue_evicts_nothing_of_a_login_that_is_not_read(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[mailbox]\nmax_entries = 200\nauthor_share = 1.0")
    alice = relay.login(ALICE)
    queued = [f"Q{number:03}" for number in range(200)]
    for message_id in queued:
        alice.send_message(BOB, message_id, MESSAGE)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    bob = relay.connect(receive_buffer_bytes=4096)
    came = [message_id_of(frame) for frame in bob.login(BOB)]

    accepted = []
    for number in range(COUNT):
        alice.send_message(BOB, f"M{number:03}", MESSAGE)
        if (answer := alice.recv())[0] == "Msg":
            accepted.append(message_id_of(answer))
        else:
            check_error(answer, 507, message_id=f"M{number:03}")

    assert len(accepted) < COUNT, "the queue was never full"
    while len(came) < len(queued) + len(accepted):
        frame = bob.recv()
        frames = queued_in(frame) if frame[0] == "q" else [frame]
        came += [message_id_of(inner) for inner in frames]
    assert came == queued + accepted
    ack_one(alice, bob, queued[0])
    exchange_marker(alice, bob)
