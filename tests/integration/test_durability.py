"""What ack 1 and a processed ack are worth: everything is killed and started on the same data."""

import pytest

from tests.outside.client import exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    GROUP,
    SENT_AT,
    ack_1,
    delivery,
    group_delivery,
    group_receipt,
    message_id_of,
    receipt,
)
from tests.outside.people import shard_of
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

from .conftest import RelayStarter


def restart_after_kill(relay: Relay) -> None:
    relay.kill_everything()
    relay.start()


def test_2_3_3_what_was_acked_is_in_the_queue_after_everything_was_killed(relay: Relay) -> None:
    alice = relay.login(ALICE)
    alice.send_message(BOB, "ONE")
    alice.send_message(GROUP, "MANY")
    alice.expect(ack_1("ONE", author=ALICE, to=BOB), ack_1("MANY", author=ALICE, to=GROUP))

    restart_after_kill(relay)

    bob, carol = relay.logged_in(BOB, CAROL)
    one, many = delivery("ONE", author=ALICE), group_delivery("MANY", author=ALICE)
    assert sorted(map(message_id_of, bob.queued)) == ["MANY", "ONE"]
    assert one in bob.queued
    assert many in bob.queued
    assert carol.queued == [many]

    # A resend is recognised across the restart: acked again, delivered to no one.
    alice = relay.login(ALICE)
    assert alice.queued == []
    alice.send_message(BOB, "ONE", t=str(SENT_AT + 9))
    alice.send_message(GROUP, "MANY", t=str(SENT_AT + 9))
    alice.expect(ack_1("ONE", author=ALICE, to=BOB), ack_1("MANY", author=ALICE, to=GROUP))
    alice.send_message(BOB, "ONE", {"conversation": "other"})
    alice.expect_error(409, message_id="ONE")
    exchange_marker(alice, bob)
    exchange_marker(alice, carol)

    # An ack finds its message, too.
    bob.ack(many, 3)
    alice.expect(group_receipt("MANY", 3, author=ALICE, by=BOB, t=SENT_AT))


def test_processed_acks_and_their_receipts_survive(relay: Relay) -> None:
    alice, bob = relay.login(ALICE, answer_pings=False), relay.login(BOB)
    for message_id in ("READ", "UNREAD"):
        alice.send_message(BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
    read, unread = bob.recv_many(2)
    bob.ack(read, 3)
    # That the receipt comes shows that the ack was processed.
    came = alice.recv()
    assert came == receipt("READ", 3, author=ALICE, by=BOB, t=SENT_AT)

    restart_after_kill(relay)

    bob = relay.login(BOB)
    assert bob.queued == [unread]
    alice = relay.login(ALICE)
    assert alice.queued == [came]
    # Levels are remembered: a lower one is still ignored, a higher one is news.
    bob.ack(read, 2)
    bob.ack(read, 4)
    alice.expect(receipt("READ", 4, author=ALICE, by=BOB, t=SENT_AT))
    exchange_marker(alice, bob)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_of_a_burst_that_is_cut_short_everything_acked_is_kept_once_and_in_order(
    relay: Relay, how: str
) -> None:
    alice = relay.login(ALICE)
    ids = [f"M{number:04}" for number in range(2400)]  # what one author may fill, nearly
    for message_id in ids:
        alice.send_message(BOB, message_id)
    # Some acks have come, most are on their way or not yet decided.
    alice.expect(*(ack_1(message_id, author=ALICE, to=BOB) for message_id in ids[:50]))

    if how == "killed":
        relay.kill_everything()
    else:
        relay.ask_to_stop()
    acked = ids[:50]
    try:
        while (frame := alice.recv())[0] == "Msg":
            acked.append(message_id_of(frame))
        assert frame == ["Cmd", {"type": "disconnect", "kind": "shutdown"}]
        assert how == "stopped"
        assert alice.wait_for_close() == 1012
        alice.drop()
    except ConnectionOver as over:
        assert (how, over.code) == ("killed", 1006)  # noqa: PT017 - the loop ends so
    if how == "stopped":
        relay.stop()
    assert acked == ids[: len(acked)]

    relay.start()
    alice, bob = relay.login(ALICE), relay.connect()
    # What was not acked may be there or not; the client sends it again.
    for message_id in ids[len(acked) :]:
        alice.send_message(BOB, message_id)
    alice.expect(*(ack_1(message_id, author=ALICE, to=BOB) for message_id in ids[len(acked) :]))
    pages = bob.login_pages(BOB, len(ids))
    assert [message_id_of(frame) for page in pages for frame in page] == ids
    exchange_marker(alice, bob)


def test_an_orderly_stop_closes_with_1012_and_keeps_everything(relay: Relay) -> None:
    alice, bob = relay.logged_in(ALICE, BOB)
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))
    bob.expect(delivery("M", author=ALICE))

    relay.ask_to_stop()

    for client in (alice, bob):
        assert client.wait_for_close() in (1001, 1012)
        client.drop()
    relay.stop()
    relay.start()
    assert relay.login(BOB).queued == [delivery("M", author=ALICE)]


def test_a_killed_worker_comes_back_with_what_was_acked(start_relay: RelayStarter) -> None:
    relay = start_relay()
    alice = relay.login(ALICE)
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))

    victim = relay.children("worker")[shard_of(BOB)]
    victim.process.kill()
    poll_for("the worker is dead", lambda: not victim.process.is_running())

    def bob_has_it() -> bool:
        try:
            bob = relay.login(BOB)
        except (ConnectionOver, OSError):
            return False
        return bob.queued == [delivery("M", author=ALICE)]

    poll_for("bob gets his message", bob_has_it)
    exchange_marker(relay.login(ALICE), relay.login(CAROL))
