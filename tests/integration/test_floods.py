"""One who sends what is dear does not hold up the others, and before a login hardly can (I7)."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.frames import Frame, Opcode

from tests.bench.dearest import DEAREST
from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, CAROL, ack_1, auth_frame, compact, delivery, receipt
from tests.outside.frames import SENT_AT as T
from tests.outside.relay import Relay

pytestmark = pytest.mark.ordeal

FLOODERS = 3
MANY_FLOODERS = 24
TIMES = 40
# Of the calm median, and at least: so much may the median be under a flood. Without bounds it is
# seconds, and grows.
PATIENCE = 30
LEAST_S = 0.3


def masked(*payloads: bytes) -> bytes:
    return b"".join(Frame(Opcode.TEXT, payload).serialize(mask=True) for payload in payloads)


def ack(*ids: str) -> bytes:
    return compact(["Msg", {"id": list(ids), "ack": 2, "to": CAROL, "from": "447700900000"}])


def elsewhere(frame: bytes) -> bytes:
    """Return a frame for the sheet's users as one for strangers."""
    return frame.replace(BOB.encode(), b"447700900998").replace(ALICE.encode(), b"447700900999")


FLOODS = {
    "acks of 1,000 unknown ids": lambda: [ack(*(f"U{n}" for n in range(1000)))],
    "acks of one unknown id": lambda: [ack(f"S{n}") for n in range(200)],
    "refused messages": lambda: [b'["action",{"add":"relay"},[%b]]' % b",".join([b"{}"] * 24)],
    "logins": lambda: [compact(auth_frame(CAROL))],
    "numbers": lambda: [elsewhere(DEAREST["messages of numbers 1e300"])],
    "sheet notation": lambda: [elsewhere(DEAREST["an ack in sheet notation: strings"])],
}


@contextmanager
def flooding(clients: list[SheetClient], frames: bytes) -> Iterator[list[int]]:
    """Send these over and over, from all of them at once; yield how many bytes each has sent."""
    sent = [0] * len(clients)
    is_over = threading.Event()

    def flood(index: int, connection: socket.socket) -> None:
        at = 0
        while not is_over.is_set():
            try:
                while connection.recv(1 << 20, socket.MSG_DONTWAIT):
                    pass
                return  # closed, which is a way to be bounded
            except BlockingIOError:
                pass
            except OSError:
                return
            try:
                written = connection.send(frames[at:], socket.MSG_DONTWAIT)
            except BlockingIOError:
                time.sleep(0.001)
                continue
            except OSError:
                return
            sent[index] += written
            at = (at + written) % len(frames)

    threads = [
        threading.Thread(target=flood, args=(index, client._socket), daemon=True)
        for index, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        is_over.set()
        for thread in threads:
            thread.join(5)


def median_s(act: Callable[[int], None], times: range) -> float:
    took = []
    for number in times:
        began = time.monotonic()
        act(number)
        took.append(time.monotonic() - began)
    return statistics.median(took)


@pytest.mark.parametrize("kind", FLOODS)
def test_a3_an_honest_pair_goes_on_while_others_flood(relay: Relay, kind: str) -> None:
    asha, bela = relay.login(ALICE), relay.login(BOB)
    frames = masked(*FLOODS[kind]())

    def exchange(number: int) -> None:
        asha.send_message(BOB, f"M{number}")
        bela.expect(delivery(f"M{number}", author=ALICE))
        asha.expect(ack_1(f"M{number}", author=ALICE, to=BOB))
        bela.ack(delivery(f"M{number}", author=ALICE))
        asha.expect(receipt(f"M{number}", 2, author=ALICE, by=BOB, t=T))

    calm_s = median_s(exchange, range(TIMES))
    flooders = [relay.login(f"44770090010{index}") for index in range(FLOODERS)]
    if kind == "logins":
        flooders = [relay.login(CAROL)]
    with flooding(flooders, frames) as sent:
        time.sleep(1.0)  # what would pile up has had its time
        flooded_s = median_s(exchange, range(TIMES, 2 * TIMES))

    assert all(sent), "nobody flooded"
    assert flooded_s < max(PATIENCE * calm_s, LEAST_S), f"{calm_s:.4f} s calm, {flooded_s:.4f} s"
    for client in flooders:
        client.drop()


def test_a3_a_large_message_goes_before_the_frames_of_those_who_keep_sending_dear_ones(
    relay: Relay,
) -> None:
    """In the order in which they come it would be behind a frame of each, 0.2 s or more."""
    asha = relay.login(ALICE)
    dearest = elsewhere(DEAREST["an ack in sheet notation: brackets"])
    frame = masked(dearest)
    alone = relay.login("447700900299")

    def take_one(_: int) -> None:
        alone.send(dearest.decode())
        alone.expect_nothing()

    each_s = max(0.2, median_s(take_one, range(3)))
    flooders = [relay.login(f"4477009002{index:02}") for index in range(MANY_FLOODERS)]

    def send(number: int) -> None:
        asha.send_message(BOB, f"M{number}", {"conversation": "x" * 40_000})
        asha.expect(ack_1(f"M{number}", author=ALICE, to=BOB))

    with flooding(flooders, frame) as sent:
        time.sleep(2.0)
        flooded_s = median_s(send, range(3))

    assert min(sent) > len(frame) // 2, "nobody flooded"
    assert flooded_s < MANY_FLOODERS * each_s / 3
    for client in flooders:
        client.drop()


def test_a2_a_first_frame_that_is_too_large_is_refused_before_it_has_come(relay: Relay) -> None:
    client = relay.connect()

    client.send_raw(masked(b"x" * 8193)[:8])  # its header

    client.expect_close(1009)


@pytest.mark.parametrize("size", [8192, 200_000])
def test_a2_behind_a_login_a_frame_may_be_large_before_the_answer(relay: Relay, size: int) -> None:
    client = relay.connect()
    keys = '"1": 1, ' * (size // 8)
    login, large = compact(auth_frame(ALICE)), f'["no such frame", {{{keys}"tag": "t1"}}]'.encode()

    client.send_raw(masked(login, large))

    assert [client.recv()[0] for _ in range(2)] == ["auth", "q"]
    client.expect_error(400, tag="t1")


def test_a2_after_a_failed_login_a_large_frame_is_refused(relay: Relay) -> None:
    client = relay.connect()
    client.send(["auth", {"type": "old"}, {"remoteJid": ALICE}])
    client.expect_failure(400)

    client.send_raw(masked(b"x" * 8193))

    client.expect_close(1009)


def test_a2_strangers_who_send_what_is_dear_cost_little(relay: Relay) -> None:
    """What is not allowed before the login is not decoded."""
    frame = b'["action",{"add":"relay"},[' + b",".join([b'{"a":[1e300]}'] * 560) + b"]]"
    assert len(frame) < 8192
    strangers = [relay.connect() for _ in range(20)]
    for stranger in strangers:
        stranger.send_raw(masked(*[frame] * 19))
    for stranger in strangers:
        for _ in range(19):
            stranger.expect_error(401, tag="action")
