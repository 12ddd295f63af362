"""The delivery model of PROTOCOL 2.7: what waits, in which order, up to which limit."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    SENT_AT,
    TEXT,
    Frame,
    ack_1,
    action,
    check_error,
    delivery,
    element,
    message_id_of,
    queued_in,
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

KIBIBYTE = {"conversation": "x" * 1024}


def send_all(
    author: SheetClient, to: str, ids: Sequence[str], message: object, *, at_once: int
) -> None:
    """Send a message for each id, `at_once` of them in a frame, and take their acks."""
    for start in range(0, len(ids), at_once):
        batch = ids[start : start + at_once]
        author.send(action(*(element(to, message_id, message) for message_id in batch)))
        author.expect(*(ack_1(message_id, author=author.user, to=to) for message_id in batch))


def test_five_thousand_queued_messages_come_in_pages_complete_and_in_order_then_live_ones(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[mailbox]\nauthor_share = 0.6")
    alice, bob = relay.login(ALICE), relay.connect()
    ids = [f"M{number:04}" for number in range(5000)]
    send_all(alice, BOB, ids, KIBIBYTE, at_once=200)

    first_page = bob.login(BOB)
    # From here on everything is live, whatever of the queue is still to come.
    live = [f"LIVE{number}" for number in range(10)]
    for message_id in live:
        alice.send_message(BOB, message_id)

    queued = list(first_page)
    pages = 1
    while len(queued) < len(ids):
        page = queued_in(bob.recv())
        assert page, "only a sole q may be empty"
        assert len(bob.last_text) <= 256 * 1024
        queued += page
        pages += 1
    assert pages >= len(ids) * 1024 / (256 * 1024)
    assert [message_id_of(frame) for frame in queued] == ids
    assert all(frame[2][0]["message"] == KIBIBYTE for frame in queued)
    bob.expect(*(delivery(message_id, author=ALICE) for message_id in live))
    alice.expect(*(ack_1(message_id, author=ALICE, to=BOB) for message_id in live))
    exchange_marker(alice, bob)


def test_a_thousand_messages_in_a_burst_arrive_in_order_with_acks_in_order(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.logged_in(cast.alice, cast.bob)
    ids = [f"M{number:04}" for number in range(1000)]

    for message_id in ids:
        alice.send_message(cast.bob, message_id)

    alice.expect(*(ack_1(message_id, author=cast.alice, to=cast.bob) for message_id in ids))
    for message_id in ids:
        message = bob.recv()
        assert message == delivery(message_id, author=cast.alice)
        bob.ack(message)
    alice.expect(
        *(receipt(message_id, 2, author=cast.alice, by=cast.bob, t=SENT_AT) for message_id in ids)
    )
    exchange_marker(alice, bob)


@contextmanager
def stream_of_messages(author: SheetClient, to: str) -> Iterator[list[str]]:
    """Send one message after the other in a thread; yields the list of the ids that were acked."""
    acked: list[str] = []
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            while not stop.is_set():
                message_id = f"M{len(acked)}"
                author.send_message(to, message_id)
                author.expect(ack_1(message_id, author=author.user, to=to))
                acked.append(message_id)
        except BaseException as failure:
            failures.append(failure)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield acked
    finally:
        stop.set()
        thread.join()
        assert not failures


def test_a_message_sent_while_its_recipient_logs_in_arrives_once_and_in_order(
    shared_relay: Relay,
    cast: Cast,
) -> None:
    alice = shared_relay.login(cast.alice)

    with stream_of_messages(alice, cast.bob) as acked:
        for _ in range(8):
            bob = shared_relay.connect()
            came = list(bob.login(cast.bob))
            enough = len(came) + 20
            while len(came) < enough:
                frame = bob.recv()
                came += queued_in(frame) if frame[0] == "q" else [frame]
            # Nothing was acked, so each connection sees the stream from its beginning.
            assert [message_id_of(frame) for frame in came] == [f"M{n}" for n in range(enough)]
            bob.close()

    last = shared_relay.connect()
    came = [frame for page in last.login_pages(cast.bob, len(acked)) for frame in page]
    assert [message_id_of(frame) for frame in came] == acked
    exchange_marker(alice, last)


def confirm_all(client: SheetClient) -> None:
    """Have the client be known to have all that has come (R7)."""
    client.wait_for_pings(len(client.pings) + 1)
    client.confirm()


def test_a_full_queue_refuses_what_was_never_read_and_evicts_what_was(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(
        config="[mailbox]\nmax_entries = 3\nauthor_share = 1.0\n[keepalive]\nping_interval_s = 0.2"
    )
    alice = relay.login(ALICE)
    send_all(alice, BOB, ["A", "B", "C"], KIBIBYTE, at_once=3)

    # Never sent: kept, and the sender is told.
    for _ in range(2):
        alice.send_message(BOB, "D")
        alice.expect_error(507, tag="action", message_id="D")
    bob = relay.login(BOB)
    assert [message_id_of(frame) for frame in bob.queued] == ["A", "B", "C"]

    # Sent, but nothing says yet that Bob's program has had it.
    alice.send_message(BOB, "D")
    alice.expect_error(507, tag="action", message_id="D")

    # Read and not acked: the oldest goes, so that a client that never acks stays usable.
    confirm_all(bob)
    for message_id in ("D", "E"):
        alice.send_message(BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))
        bob.expect(delivery(message_id, author=ALICE))
    bob.close()
    bob = relay.login(BOB)
    assert [message_id_of(frame) for frame in bob.queued] == ["C", "D", "E"]

    # An ack makes room.
    bob.ack(bob.queued[0])
    alice.expect(receipt("C", 2, author=ALICE, by=BOB, t=SENT_AT))
    bob.close()
    alice.send_message(BOB, "F")
    alice.expect(ack_1("F", author=ALICE, to=BOB))
    bob = relay.login(BOB)
    assert [message_id_of(frame) for frame in bob.queued] == ["D", "E", "F"]

    # Others are not concerned.
    carol = relay.login(CAROL)
    exchange_marker(alice, carol)


def test_a_queue_is_full_also_by_its_bytes(start_relay: RelayStarter) -> None:
    relay = start_relay(
        config="[mailbox]\nmax_bytes = 100_000\nauthor_share = 1.0\n"
        "[keepalive]\nping_interval_s = 0.2"
    )
    alice = relay.login(ALICE)
    message = {"conversation": "x" * 45_000}
    send_all(alice, BOB, ["A", "B"], message, at_once=1)

    alice.send_message(BOB, "C", message)

    alice.expect_error(507, tag="action", message_id="C")
    bob = relay.login(BOB)
    assert [message_id_of(frame) for frame in bob.queued] == ["A", "B"]
    confirm_all(bob)
    alice.send_message(BOB, "C", message)
    alice.expect(ack_1("C", author=ALICE, to=BOB))
    bob.expect(delivery("C", author=ALICE, message=message))
    bob.close()
    assert [message_id_of(frame) for frame in relay.login(BOB).queued] == ["B", "C"]


def test_a_stranger_in_a_hurry_fills_a_share_of_a_queue_and_nobody_else_is_refused(
    start_relay: RelayStarter,
) -> None:
    """2.7.5: Bob is connected and does not read; what Alice was acked for is there afterwards."""
    relay = start_relay(config="[mailbox]\nmax_entries = 400")
    alice, eve = relay.logged_in(ALICE, EVE)
    bob = relay.connect()
    bob.login(BOB)
    of_alice = [f"A{number}" for number in range(20)]
    send_all(alice, BOB, of_alice, TEXT, at_once=20)

    of_eve: list[str] = []
    for start in range(0, 480, 48):
        ids = [f"E{number}" for number in range(start, start + 48)]
        eve.send(action(*(element(BOB, message_id, TEXT) for message_id in ids)))
        for message_id in ids:
            answer = eve.recv()
            if answer[0] == "Msg":
                of_eve.append(message_id_of(answer))
            else:
                check_error(answer, 507, message_id=message_id)
                assert "of this author" in answer[1]["reason"]

    assert len(of_eve) == 100
    send_all(alice, BOB, ["A20"], TEXT, at_once=1)
    bob.close()
    queued = [frame for page in relay.connect().login_pages(BOB, 121) for frame in page]
    assert [message_id_of(frame) for frame in queued] == [*of_alice, *of_eve, "A20"]


def test_the_queue_of_many_authors_has_one_order_at_every_login(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, carol = shared_relay.logged_in(cast.alice, cast.carol)
    for number in range(10):
        for author in (alice, carol):
            author.send_message(cast.bob, f"M{number}")
            author.expect(ack_1(f"M{number}", author=author.user, to=cast.bob))

    expected: list[Frame] = [
        delivery(f"M{number}", author=author)
        for number in range(10)
        for author in (cast.alice, cast.carol)
    ]
    bob = shared_relay.login(cast.bob)
    assert bob.queued == expected
    bob.ack(bob.queued[3])
    carol.expect(receipt("M1", 2, author=cast.carol, by=cast.bob, t=SENT_AT))
    # Nothing is sent again in a living connection.
    exchange_marker(alice, bob)
    bob.close()

    assert shared_relay.login(cast.bob).queued == expected[:3] + expected[4:]


def test_an_entry_is_gone_when_its_time_is_over(start_relay: RelayStarter) -> None:
    relay = start_relay(config="[mailbox]\nttl_days = 0.00002")
    alice = relay.login(ALICE)
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))

    def is_gone() -> bool:
        bob = relay.login(BOB)
        bob.close()
        return bob.queued == []

    poll_for("the message has expired", is_gone)
    exchange_marker(alice, relay.login(BOB))
