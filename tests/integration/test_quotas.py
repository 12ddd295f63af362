"""What one author may do, whatever connections it uses."""

from __future__ import annotations

import re
import signal
import struct
import time

from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, SENT_AT, ack_1, receipt
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter


def refused(client: SheetClient) -> dict[str, object]:
    """The body of the error that comes next."""
    tag, body = client.recv()
    assert tag == "error"
    assert isinstance(body, dict)
    return body


NOTE = re.compile(ALICE.encode() + b"\xcb(.{8})", re.DOTALL)  # a double in msgpack


def noted(relay: Relay) -> float:
    """The most of Alice's messages that any file ever said are waiting."""
    files = [path for path in (relay.directory / "data").rglob("*") if path.is_file()]
    notes = [note for path in files for note in NOTE.findall(path.read_bytes())]
    return max((struct.unpack(">d", note)[0] for note in notes), default=0.0)


def test_i6_an_author_that_is_too_fast_is_told_to_wait_and_a_new_connection_does_not_help(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[quota]\nmessages_per_s = 0.5\nmessages_burst = 3")
    alice = relay.login(ALICE)
    for number in range(3):
        alice.send_message(BOB, f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=BOB))

    alice.send_message(BOB, "M3")
    assert refused(alice)["code"] == 429
    alice.close()

    alice = relay.login(ALICE)
    alice.send_message(BOB, "M3")
    body = refused(alice)
    assert (body["code"], body["id"]) == (429, "M3")
    assert body["retryAfter"] in (1, 2)

    time.sleep(float(str(body["retryAfter"])))
    alice.send_message(BOB, "M3")
    alice.expect(ack_1("M3", author=ALICE, to=BOB))


def test_i6_what_one_author_has_waiting_is_bounded_and_a_restart_grants_nothing(
    start_relay: RelayStarter,
) -> None:
    quota = "[quota]\nmessages_per_s = 0.0\nwaiting_messages = 8"
    relay = start_relay(config=quota, workers=1)
    alice = relay.login(ALICE)
    for number in range(8):
        alice.send_message(f"91999{number}", f"M{number}")
        alice.expect(ack_1(f"M{number}", author=ALICE, to=f"91999{number}"))
    alice.send_message(BOB, "M8")
    assert refused(alice)["code"] == 507
    worker = relay.children("worker")[0]
    poll_for("a note of it", lambda: noted(relay) > 7.5)

    worker.process.send_signal(signal.SIGKILL)

    alice.send_message(BOB, "M8")
    assert refused(alice)["code"] == 507, "the next one knows too"
    friend = relay.login("919990")
    friend.ack(friend.queued[0])
    alice.expect(receipt("M0", 2, author=ALICE, by="919990", t=SENT_AT))
    alice.send_message(BOB, "M8")
    alice.expect(ack_1("M8", author=ALICE, to=BOB))
