"""Clients that this project did not write speak the protocol with the relay.

Each is given the sheet's text alone: it logs in, sends, receives and acknowledges, against a raw
client at the other end.
"""

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect as connect_asyncio
from websockets.sync.client import connect as connect_sync

from tests.outside.client import SheetClient
from tests.outside.frames import (
    AUTH_SUCCESS,
    EMPTY_Q,
    SENT_AT,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    receipt,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S

from .conftest import RelayStarter

NODE = shutil.which("node")
CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)

# A whole client in the words of the sheet: it says hello, acknowledges what it gets, and tells the
# other which frames it has seen; `bye` ends it.
SCRIPT = """
const seen = [];
const socket = new WebSocket(URL_OF_RELAY);
const send = (frame) => socket.send(JSON.stringify(frame));
const say = (id, text) => send(["action", {"add": "relay"}, [{"message": {"conversation": text},
  "key": {"remoteJid": PEER + "@s.whatsapp.com", "fromMe": true, "id": id},
  "messageTimestamp": "1566970629"}]]);
socket.onopen = () => send(["auth", {"type": "new"}, {"remoteJid": ME + "@s.whatsapp.com"}]);
socket.onmessage = (event) => {
  const frame = JSON.parse(event.data);
  seen.push(frame);
  const [tag, body, elements] = frame;
  if (tag === "q") say("HELLO", "hello");
  if (tag === "Msg" && body.id === "HELLO" && body.ack === 2) say("SEEN", JSON.stringify(seen));
  if (tag === "action") {
    const {key, message} = elements[0];
    send(["Msg", {"id": key.id, "ack": 2, "cmd": "ack", "to": ME + "@c.us", "t": "1566970629",
      "from": key.remoteJid.replace("@s.whatsapp.com", "@c.us")}]);
    if (message.conversation === "bye") socket.close(1000);
    else say("ECHO", message.conversation);
  }
};
"""


def script_for(relay: Relay, cast: Cast) -> str:
    names = {"URL_OF_RELAY": relay.url, "ME": cast.alice, "PEER": cast.bob}
    constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in names.items())
    return constants + SCRIPT


def converse_with_script(bob: SheetClient, alice: str) -> None:
    """Play the other side of `SCRIPT`, which is `alice`, and check all that it saw."""
    hello = bob.recv(2 * DEADLINE_S)
    assert hello == delivery("HELLO", author=alice, message={"conversation": "hello"})
    bob.ack(hello)

    seen = bob.recv()
    assert json.loads(seen[2][0]["message"]["conversation"]) == [
        AUTH_SUCCESS,
        EMPTY_Q,
        ack_1("HELLO", author=alice, to=bob.user),
        receipt("HELLO", 2, author=alice, by=bob.user, t=SENT_AT),
    ]
    bob.ack(seen)

    echo = delivery("ECHO", author=alice, message={"conversation": "é \U0001f600"})
    for message_id, text in (("LIVE", "é \U0001f600"), ("BYE", "bye")):
        bob.send_message(alice, message_id, {"conversation": text})
        bob.expect(ack_1(message_id, author=bob.user, to=alice))
        confirmed = receipt(message_id, 2, author=bob.user, by=alice, t=SENT_AT)
        # The echo and the receipt are of two chats, and may cross.
        bob.expect_in_any_order(confirmed, *([] if text == "bye" else [echo]))


def test_the_websockets_librarys_clients_chat(shared_relay: Relay, cast: Cast) -> None:
    """With their defaults: compression offered, pings of their own, messages up to 1 MiB."""
    confirmed = receipt("HELLO", 2, author=cast.alice, by=cast.bob, t=SENT_AT)

    async def alice_side(logged_in: threading.Event) -> None:
        async with connect_asyncio(shared_relay.url) as socket:
            await socket.send(json.dumps(auth_frame(cast.alice)))
            assert json.loads(await socket.recv()) == AUTH_SUCCESS
            assert json.loads(await socket.recv()) == EMPTY_Q
            await asyncio.to_thread(logged_in.wait, DEADLINE_S)
            await socket.send(json.dumps(action(element(cast.bob, "HELLO"))))
            assert json.loads(await socket.recv()) == ack_1("HELLO", author=cast.alice, to=cast.bob)
            assert json.loads(await socket.recv()) == confirmed
            await (await socket.ping())

    def bob_side(logged_in: threading.Event) -> None:
        with connect_sync(shared_relay.url) as socket:
            socket.send(json.dumps(auth_frame(cast.bob)))
            assert json.loads(socket.recv(DEADLINE_S)) == AUTH_SUCCESS
            assert json.loads(socket.recv(DEADLINE_S)) == EMPTY_Q
            logged_in.set()
            assert json.loads(socket.recv(DEADLINE_S)) == delivery("HELLO", author=cast.alice)
            socket.send(json.dumps(confirmed))
            assert socket.ping().wait(DEADLINE_S)

    async def both() -> None:
        logged_in = threading.Event()
        async with asyncio.timeout(2 * DEADLINE_S):
            await asyncio.gather(alice_side(logged_in), asyncio.to_thread(bob_side, logged_in))

    asyncio.run(both())


@contextmanager
def process_of(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose temporary files go with it; a browser leaves some behind."""
    with (
        # Not below pytest's long tmp_path: sockets are in it, whose paths are bounded.
        tempfile.TemporaryDirectory(prefix="relay-test-") as temporary,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, env={**os.environ, "TMPDIR": temporary}
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(DEADLINE_S)
            finally:
                process.kill()


@pytest.mark.skipif(NODE is None, reason="no node on PATH")
def test_nodes_websocket_chats(shared_relay: Relay, cast: Cast) -> None:
    assert NODE is not None
    bob = shared_relay.login(cast.bob)

    with process_of(
        [NODE, "--experimental-websocket", "-e", script_for(shared_relay, cast)]
    ) as node:
        converse_with_script(bob, cast.alice)

        assert node.wait(DEADLINE_S) == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_a_page_in_a_headless_chromium_chats(
    start_relay: RelayStarter, cast: Cast, tmp_path: Path
) -> None:
    assert CHROMIUM is not None
    relay = start_relay(config='[server]\nallowed_origins = ["*"]')  # a file is of no host
    bob = relay.login(cast.bob)
    page = tmp_path / "page.html"
    page.write_text(
        f"<!doctype html><meta charset=utf-8><script>{script_for(relay, cast)}</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"

    with process_of([CHROMIUM, *options, profile, page.as_uri()]):
        converse_with_script(bob, cast.alice)
