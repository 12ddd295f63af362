"""A page that a real browser has frozen answers pings, and has had nothing (R7)."""

import time

import pytest

from tests.outside.chromium import Page, executable, open_page
from tests.outside.client import FRAME_AFTER_S
from tests.outside.frames import ALICE, BOB, SENT_AT, delivery, receipt
from tests.outside.relay import Relay
from tests.outside.tap import Tap
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

CHROMIUM = executable()
IDS = ("M1", "M2")
# The page is of nowhere.
CONFIG = """
server.allowed_origins = ["*"]
[keepalive]
ping_interval_s = 0.3
receipt_ping_s = 0.2
"""
# Logs in, sends two messages, and shows ten times a second that it lives.
SCRIPT = """
var frames = [];
var socket = new WebSocket("ws://127.0.0.1:%d/");
socket.onmessage = (event) => frames.push(event.data);
socket.onopen = () => {
  socket.send(JSON.stringify(["auth", {type: "new"}, {remoteJid: "%s@s.whatsapp.com"}]));
  for (const id of %s) {
    const key = {remoteJid: "%s@s.whatsapp.com", fromMe: true, id: id};
    const element = {message: {conversation: "Test msg"}, key: key, messageTimestamp: "%d"};
    socket.send(JSON.stringify(["action", {add: "relay"}, [element]]));
  }
  setInterval(() => socket.send("?,,"), 100);
};
"""


@pytest.mark.ordeal
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("is_frozen", [True, False])
def test_r7_receipts_that_a_frozen_page_never_saw_come_again(
    start_relay: RelayStarter, is_frozen: bool
) -> None:
    relay = start_relay(config=CONFIG)
    assert CHROMIUM is not None
    with Tap(relay.port) as tap, open_page(CHROMIUM) as page:
        get_receipts(relay, tap, page, is_frozen=is_frozen)

        page.close()

        poll_for("the page's connection ends", lambda: tap.is_over)
    expected = [receipt(each, 2, author=ALICE, by=BOB, t=SENT_AT) for each in IDS]
    assert relay.login(ALICE).queued == (expected if is_frozen else [])


def get_receipts(relay: Relay, tap: Tap, page: Page, *, is_frozen: bool) -> None:
    """Have the page be sent two receipts, ping it, and leave it time to confirm them."""
    bob = relay.login(BOB)
    page.run(SCRIPT % (tap.port, ALICE, list(IDS), BOB, SENT_AT))
    for message_id in IDS:
        message = bob.recv()
        assert message[2][0]["key"] == delivery(message_id, author=ALICE)[2][0]["key"]
    poll_for(
        "the page has both acks 1",
        lambda: page.run('frames.filter((each) => each.includes("Msg")).length') == len(IDS),
    )
    if is_frozen:
        page.freeze()
        poll_for("the page stands still", lambda: stands_still(tap))
    texts, pongs = tap.texts, tap.pongs

    for message_id in IDS:
        bob.ack(delivery(message_id, author=ALICE))
    bob.expect_nothing()
    poll_for("the browser has answered pings behind the receipts", lambda: tap.pongs >= pongs + 3)
    # As long as it takes until a frame would count.
    time.sleep(FRAME_AFTER_S)
    poll_for("it goes on answering", lambda: tap.pongs >= pongs + 6)

    assert (tap.texts == texts) is is_frozen
    assert not tap.is_over


def stands_still(tap: Tap) -> bool:
    texts = tap.texts
    time.sleep(0.5)
    return tap.texts == texts
