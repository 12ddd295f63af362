"""What broke other relays does not break this one: a test for each class of such faults, in order.

01 loss behind a dead connection, 02 login race, 03 live before queued, 04 a drain that stops
short, 05 a queue full of chatter, 06 silent drop at quota, 07 duplicates, 08 memory of a slow
reader, 09 bytes behind the close, 10 restart and deploy, 11 acked but not durable.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path

import pytest
from websockets.frames import Opcode

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    CAROL,
    SENT_AT,
    TEXT,
    Frame,
    ack_1,
    action,
    auth_frame,
    check_error,
    delivery,
    element,
    message_id_of,
    queued_in,
    receipt,
)
from tests.outside.people import Cast, shard_of
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for, slowest_s

from .conftest import RelaySharer, RelayStarter
from .roamer import Roamer

MIB = 1024 * 1024
# How often what was just seen to work may take as long as it did, before a test calls it dead.
PATIENCE = 10
# So small that every queue is many pages, between which live messages come in.
SMALL_PAGES = "[flow]\npage_bytes = 4096"
QUOTA = 20
# One author may fill a queue.
WHOLE_SHARE = "[mailbox]\nauthor_share = 1.0"
SMALL_QUOTA = f"{WHOLE_SHARE}\nmax_entries = {QUOTA}"


def numbered(prefix: str, number: int) -> list[str]:
    return [f"{prefix}{index:04}" for index in range(number)]


def store(author: SheetClient, to: str, ids: Sequence[str], message: object = TEXT) -> None:
    """Send a message for each id, then take the acks 1."""
    for message_id in ids:
        author.send_message(to, message_id, message)
    author.expect(*(ack_1(message_id, author=author.user, to=to) for message_id in ids))


def take(client: SheetClient, number: int) -> list[Frame]:
    """Return what this session was given, `number` frames, in `q` frames or live."""
    came = list(client.queued)
    while len(came) < number:
        frame = client.recv()
        came += queued_in(frame) if frame[0] == "q" else [frame]
    return came


def ack_each(reader: SheetClient, messages: Sequence[Frame], author: SheetClient) -> None:
    """Ack each message once the receipt of the one before has come."""
    for message in messages:
        reader.ack(message)
        message_id = message_id_of(message)
        author.expect(receipt(message_id, 2, author=author.user, by=reader.user, t=SENT_AT))


def ids_of(frames: Sequence[Frame]) -> list[str]:
    return [message_id_of(frame) for frame in frames]


@pytest.mark.parametrize("end", ["found dead", "replaced"])
def test_01_nothing_is_lost_while_a_dead_connection_looks_online(
    start_relay: RelayStarter, end: str
) -> None:
    relay = start_relay(config=DEBUG)
    alice, ghost = relay.logged_in(ALICE, BOB)
    store(ghost, ALICE, ["HIS"])
    his = alice.recv()
    ids: list[str] = []

    def send_one() -> bool:
        ids.append(f"M{len(ids):04}")
        store(alice, BOB, ids[-1:])
        return relay.front_of(ghost) is not None

    # From here on Bob's network is gone: nothing is read, no ping is answered, no FIN comes.
    took_s = slowest_s(send_one)
    assert relay.front_of(ghost) is not None
    if end == "found dead":
        # Alice answers her pings whenever she sends, so she is not.
        timeout = f"pong_timeout_s = {1 + PATIENCE * took_s}"
        relay.take(f"{DEBUG}[keepalive]\nping_interval_s = 0.2\n{timeout}\n")
    alice.ack(his)
    while end == "found dead" and send_one():
        pass

    bob = relay.login(BOB)

    came = take(bob, len(ids) + 1)
    assert [frame for frame in came if frame[0] == "action"] == [
        delivery(message_id, author=ALICE) for message_id in ids
    ]
    assert receipt("HIS", 2, author=BOB, by=ALICE, t=SENT_AT) in came
    exchange_marker(alice, bob)


def test_02_what_is_sent_during_a_login_arrives_in_that_session(
    share_relay: RelaySharer, cast: Cast
) -> None:
    relay = share_relay(SMALL_PAGES)
    alice = relay.login(cast.alice)
    waiting, racing = numbered("WAITING", 5), numbered("RACING", 10)

    # How many are on their way when the login is differs from user to user.
    for number, user in enumerate(islice(cast.others(shard_of(cast.bob)), 22)):
        store(alice, user, waiting, {"conversation": "x" * 2048})
        bob = relay.connect()
        bob.user = user
        ahead = number % len(racing)
        for message_id in racing[:ahead]:
            alice.send_message(user, message_id)
        bob.send(auth_frame(user))
        for message_id in racing[ahead:]:
            alice.send_message(user, message_id)

        bob.expect(AUTH_SUCCESS)
        bob.queued = queued_in(bob.recv())
        assert ids_of(take(bob, len(waiting + racing))) == waiting + racing
        alice.expect(*(ack_1(message_id, author=alice.user, to=user) for message_id in racing))
        exchange_marker(alice, bob)


def test_03_live_messages_never_overtake_queued_ones(share_relay: RelaySharer, cast: Cast) -> None:
    relay = share_relay(SMALL_PAGES)
    alice, carol = relay.logged_in(cast.alice, cast.carol)
    queued, live = numbered("QUEUED", 600), numbered("LIVE", 30)
    store(alice, cast.bob, queued, {"conversation": "x" * 1024})

    bob = relay.login(cast.bob)
    assert len(bob.queued) < len(queued), "the login is over before anything live was sent"
    for number, message_id in enumerate(live):
        store((alice, carol)[number % 2], cast.bob, [message_id])

    while len(bob.queued) < len(queued):
        bob.queued += queued_in(bob.recv())
    assert ids_of(bob.queued) == queued
    bob.expect(
        *(
            delivery(message_id, author=(cast.alice, cast.carol)[number % 2])
            for number, message_id in enumerate(live)
        )
    )
    exchange_marker(alice, bob)


def test_04_a_queue_longer_than_any_page_or_buffer_is_drained_to_its_end(
    share_relay: RelaySharer, cast: Cast
) -> None:
    relay = share_relay(WHOLE_SHARE)
    alice = relay.login(cast.alice)
    # Together 6 MiB, where a page and a `q` hold 256 KiB, and a connection is closed at 4 MiB.
    ids = numbered("M", 6000)
    store(alice, cast.bob, ids, {"conversation": "x" * 1024})
    alice.close()
    bob = relay.connect(receive_buffer_bytes=4096)
    bob.login(cast.bob)
    assert ids_of(take(bob, len(ids))) == ids

    # Alice is away, so her receipts make a queue, of more entries than a page takes.
    for start in range(0, len(ids), 1000):
        acks = receipt("", 2, author=cast.alice, by=cast.bob, t=str(SENT_AT))
        acks[1].update(cmd="acks", id=ids[start : start + 1000])
        bob.send(acks)
    alice = relay.login(cast.alice)
    assert ids_of(take(alice, len(ids))) == ids
    exchange_marker(alice, bob)
    bob.close()
    assert relay.login(cast.bob).queued == []


def test_05_neither_typing_notices_nor_stray_acks_take_room_in_a_queue(
    share_relay: RelaySharer, cast: Cast
) -> None:
    relay = share_relay(SMALL_QUOTA)
    alice = relay.login(cast.alice)
    # Where Bob lives, and so a witness of what has got there.
    eve = relay.login(next(cast.others(shard_of(cast.bob))))
    bobs_jid = f"{cast.bob}@c.us"
    for _ in range(QUOTA + 1):
        alice.send(receipt("UNKNOWN", 2, author=cast.bob, by=cast.alice, t=str(SENT_AT)))
    # The relay knows no presence, so it says so.
    for kind in ("composing", "recording", "paused"):
        state = ["presence", {"type": kind, "to": bobs_jid}, None]
        alice.send(["action", {"type": "set", "epoch": "2"}, [state]])
        alice.expect_error(400)
        alice.send(["Presence", {"id": bobs_jid, "type": kind}])
        alice.expect_error(400)
    alice.send(receipt("UNKNOWN", 2, author=eve.user, by=cast.alice, t=str(SENT_AT)))
    assert message_id_of(eve.recv()) == "UNKNOWN"

    ids = numbered("M", QUOTA)
    store(alice, cast.bob, ids)
    alice.send_message(cast.bob, "OVER")
    alice.expect_error(507, message_id="OVER")

    bob = relay.login(cast.bob)
    assert bob.queued == [delivery(message_id, author=cast.alice) for message_id in ids]
    exchange_marker(bob, alice)


def test_06_at_quota_the_sender_is_told_and_nothing_is_dropped(
    share_relay: RelaySharer, cast: Cast
) -> None:
    relay = share_relay(SMALL_QUOTA)
    alice, carol = relay.logged_in(cast.alice, cast.carol)
    ids = numbered("M", 2 * QUOTA)
    for message_id in ids:
        alice.send_message(cast.bob, message_id)
    answers = alice.recv_many(len(ids))
    # The limit is his, not hers: whoever else writes to him is told as well.
    carol.send_message(cast.bob, "HERS")
    carol.expect_error(507, message_id="HERS")

    assert ids_of(answers) == ids
    for answer in answers[:QUOTA]:
        assert answer == ack_1(message_id_of(answer), author=cast.alice, to=cast.bob)
    for answer in answers[QUOTA:]:
        check_error(answer, 507, tag="action")
    bob = relay.login(cast.bob)
    assert ids_of(bob.queued) == ids[:QUOTA]
    # Once there is room, what was refused can be sent as if it never had been.
    ack_each(bob, bob.queued, alice)
    store(alice, cast.bob, ids[QUOTA:])
    assert ids_of(bob.recv_many(QUOTA)) == ids[QUOTA:]
    exchange_marker(bob, alice)


def test_07_no_reconnect_brings_anything_twice_or_under_a_new_id(
    share_relay: RelaySharer, cast: Cast
) -> None:
    relay = share_relay()
    alice, bob = relay.logged_in(cast.alice, cast.bob)
    ids = numbered("M", 40)
    expected = [delivery(message_id, author=cast.alice) for message_id in ids]
    for message_id in ids:
        alice.send_message(cast.bob, message_id)
    bob.expect(*expected[:10])
    # No ack 1 was read, so to her all are unsent.
    alice.drop()
    alice = relay.login(cast.alice)
    store(alice, cast.bob, ids)
    bob.expect(*expected[10:])

    acked, unacked = expected[::2], expected[1::2]
    for messages in (acked, unacked):
        ack_each(bob, messages, alice)
        bob.drop()
        bob = relay.login(cast.bob)
        assert bob.queued == (unacked if messages is acked else [])

    store(alice, cast.bob, ids)
    exchange_marker(alice, bob)


def test_08_a_slow_reader_takes_no_memory(start_relay: RelayStarter) -> None:
    relay = start_relay(config=WHOLE_SHARE)
    alice, bob = relay.login(ALICE), relay.connect(receive_buffer_bytes=4096)
    bob.login(BOB)
    before = relay.memory_bytes()
    most = 0
    ids = numbered("M", 600)

    for start in range(0, len(ids), 50):
        store(alice, BOB, ids[start : start + 50], {"conversation": "x" * 60 * 1024})
        most = max(most, relay.memory_bytes() - before)

    # 35 MiB came for him. A page, a link and what a store writes at once take some 10.
    assert most < 20 * MIB
    assert ids_of(bob.recv_many(len(ids))) == ids
    assert relay.memory_bytes() - before < 20 * MIB
    exchange_marker(alice, bob)


def websocket_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield opcode and payload of a server's frames, each whole and at most 64 KiB long."""
    at = 0
    while at < len(data):
        opcode, length = data[at] & 0x0F, data[at + 1]
        at += 2
        if length > 125:
            length = int.from_bytes(data[at : at + 2])
            at += 2
        assert at + length <= len(data), "cut within a frame"
        yield opcode, data[at : at + length]
        at += length


def bytes_left_unread(relay: Relay, client: SheetClient) -> int:
    """How much of what this client sent its front leaves with the kernel."""
    ports = [relay.port, client.local_port]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, own, peer, _, queues, *_ = line.split()
        if [int(end.partition(":")[2], 16) for end in (own, peer)] == ports:
            return int(queues.partition(":")[2], 16)
    return 0


def test_09_no_byte_follows_the_close_of_a_slow_reader_and_its_next_login_has_no_gap(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=DEBUG)
    alice, bob = relay.login(ALICE), relay.connect(receive_buffer_bytes=4096)
    bob.login(BOB)
    ids: list[str] = []
    others = count()

    def send(to: str, message_id: str) -> None:
        store(alice, to, [message_id], {"conversation": "x" * 60 * 1024})

    def send_one() -> None:
        ids.append(f"M{len(ids):04}")
        send(BOB, ids[-1])

    def is_left_unread() -> bool:
        return bytes_left_unread(relay, bob) > 0

    def send_another_and_look() -> None:
        send(CAROL, f"HERS{next(others)}")
        is_left_unread()

    # The front must not close before it was seen that it does not read: that takes one more send.
    blocked_s = 1 + PATIENCE * slowest_s(send_another_and_look)
    relay.take(f"{DEBUG}[flow]\nwrite_blocked_s = {blocked_s}\n")
    # Who does not read is not read, until its front wants nothing more but the answer to a close.
    while not is_left_unread():
        bob.send("?,,")
        send_one()
    deadline_s = blocked_s + DEADLINE_S
    poll_for("the front closes", lambda: not is_left_unread(), deadline_s=deadline_s)
    for _ in range(5):
        send_one()
    bob.send_raw(b"\x88\x80\x00\x00\x00\x00")
    frames = list(websocket_frames(bob.recv_raw()))

    *before, (opcode, payload) = frames
    assert (opcode, int.from_bytes(payload[:2])) == (Opcode.CLOSE, 1013)
    assert {opcode for opcode, _ in before} == {Opcode.TEXT}
    came = [payload for _, payload in before if not payload.startswith(b"!")]
    assert len(came) < len(ids)
    assert all(f'"{ids[number]}"'.encode() in payload for number, payload in enumerate(came))
    again = relay.login(BOB)
    assert ids_of(take(again, len(ids))) == ids
    exchange_marker(alice, again)


def expect_all_arrived(alice: Roamer, bob: Roamer, ids: Sequence[str]) -> None:
    """Every message reached Bob in order, and every receipt Alice."""
    while alice.unanswered:
        alice.read()
    # An ack has no answer, so what the last connection took with it is acked once more.
    bob.log_in()
    while not bob.has_queue or len(bob.seen) < len(ids):
        bob.read()
    assert list(bob.seen) == list(ids)
    while len(alice.receipts) < len(ids):
        alice.read()
    assert alice.receipts == set(ids)


def test_10_a_rolling_restart_under_traffic_loses_nothing(start_relay: RelayStarter) -> None:
    relay = start_relay()
    alice, bob = Roamer(relay, ALICE), Roamer(relay, BOB)
    before = {child.process.pid for child in relay.children()}
    ids: list[str] = []
    relay.process.send_signal(signal.SIGUSR2)

    while "supervisor.rolled" not in relay.log.text():
        ids.append(f"M{len(ids)}")
        alice.send(BOB, ids[-1])
        while ids[-1] not in bob.seen:
            # Whatever she cannot send now she sends when she is back.
            alice.read() if alice.unanswered else bob.read()

    assert not before & {child.process.pid for child in relay.children()}
    expect_all_arrived(alice, bob, ids)


def test_10_a_crash_of_everything_under_traffic_loses_nothing(start_relay: RelayStarter) -> None:
    relay = start_relay()
    alice, bob = Roamer(relay, ALICE), Roamer(relay, BOB)
    ids = numbered("M", 1000)
    for message_id in ids:
        alice.send(BOB, message_id)
    # Some are acked, most are on their way.
    while len(alice.unanswered) > 950 or len(bob.seen) < 20:
        alice.read()
        bob.read()

    relay.kill_everything()
    relay.start()

    expect_all_arrived(alice, bob, ids)


def test_11_what_is_acked_is_stored_whatever_is_killed_at_that_moment(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay()
    acked: dict[str, list[str]] = {BOB: [], CAROL: []}
    for life, to in zip(count(), (BOB, CAROL, BOB), strict=False):
        alice = relay.login(ALICE)
        pids = [child.process.pid for child in relay.children("worker")]
        # So much at once that its commit takes a while: who acks before it is found out.
        ids = numbered(f"LIFE{life}-", 10)
        alice.send(action(*(element(to, each, {"text": "x" * 20 * 1024}) for each in ids)))
        first = alice.recv()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        relay.kill_everything()
        # A front that outlives its supervisor by a moment says goodbye behind the acks.
        acks = [frame for frame in (first, *alice.recv_available()) if frame[0] == "Msg"]
        acked[to] += ids_of(acks)
        assert acks, "the first frame is an ack"

        relay.start()
        for user, ids in acked.items():
            session = relay.login(user)
            while ids and ids[-1] not in ids_of(session.queued):
                session.queued += queued_in(session.recv())
            assert [each for each in ids_of(session.queued) if each in ids] == ids
