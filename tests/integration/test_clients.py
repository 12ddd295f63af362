"""Clients that this project did not write speak the protocol with the relay.

Each is given the sheet's text alone: it logs in, sends, receives and acknowledges, against a raw
client at the other end.
"""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect as connect_asyncio
from websockets.sync.client import connect as connect_sync

from .harness import (
    ALICE,
    AUTH_SUCCESS,
    BOB,
    DEADLINE_S,
    EMPTY_Q,
    Frame,
    Relay,
    SheetClient,
    ack_1,
    action,
    auth_frame,
    delivery,
    element,
    receipt,
)

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
  if (tag === "q") {
    for (const queued of JSON.parse(body.data).slice(1)) seen.push(queued);
    say("HELLO", "hello");
  } else if (tag === "action") {
    const {key, message} = elements[0];
    send(["Msg", {"id": key.id, "ack": 2, "cmd": "ack", "to": ME + "@c.us", "t": "1566970629",
      "from": key.remoteJid.replace("@s.whatsapp.com", "@c.us")}]);
    if (message.conversation === "bye") socket.close(1000);
    else say("SEEN", JSON.stringify(seen));
  }
};
"""


def script_for(relay: Relay) -> str:
    names = {"URL_OF_RELAY": relay.url, "ME": ALICE, "PEER": BOB}
    constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in names.items())
    return constants + SCRIPT


def converse_with_script(bob: SheetClient) -> None:
    """Play the other side of `SCRIPT` and check all that it saw."""
    hello = bob.recv(2 * DEADLINE_S)
    assert hello == delivery("HELLO", author=ALICE, message={"conversation": "hello"})
    bob.ack(hello)
    bob.send_message(ALICE, "ANSWER")
    bob.expect(ack_1("ANSWER", author=BOB, to=ALICE))
    answer_receipt = receipt("ANSWER", 2, author=BOB, by=ALICE, t=1566970629)
    came = bob.recv_many(2)
    assert answer_receipt in came
    [seen] = [frame for frame in came if frame[0] == "action"]
    assert json.loads(seen[2][0]["message"]["conversation"]) == [
        AUTH_SUCCESS,
        EMPTY_Q,
        ack_1("HELLO", author=ALICE, to=BOB),
        receipt("HELLO", 2, author=ALICE, by=BOB, t=1566970629),
        delivery("ANSWER", author=BOB),
    ]
    bob.ack(seen)
    bob.send_message(ALICE, "BYE", {"conversation": "bye"})
    bob.expect(
        ack_1("BYE", author=BOB, to=ALICE), receipt("BYE", 2, author=BOB, by=ALICE, t=1566970629)
    )


def test_the_websockets_librarys_clients_chat(relay: Relay) -> None:
    """Both with the library's defaults: compression offered, its own pings, 1 MiB frames."""

    async def alice() -> list[Frame]:
        seen = []
        async with connect_asyncio(relay.url) as socket:
            await socket.send(json.dumps(auth_frame(ALICE)))
            seen += [json.loads(await socket.recv()) for _ in range(2)]
            await socket.send(json.dumps(action(element(BOB, "HELLO"))))
            seen += [json.loads(await socket.recv()) for _ in range(2)]
            await (await socket.ping())
        return seen

    def bob() -> Frame:
        with connect_sync(relay.url) as socket:
            socket.send(json.dumps(auth_frame(BOB)))
            replies = [json.loads(socket.recv(DEADLINE_S)) for _ in range(2)]
            assert replies == [AUTH_SUCCESS, EMPTY_Q]
            logged_in.set()
            message: Frame = json.loads(socket.recv(DEADLINE_S))
            socket.send(json.dumps(receipt("HELLO", 2, author=ALICE, by=BOB, t="1566970629")))
            assert socket.ping().wait(DEADLINE_S)
            return message

    logged_in = asyncio.Event()

    async def both() -> tuple[Any, Any]:
        loop = asyncio.get_running_loop()
        reader = loop.run_in_executor(None, bob)
        return await asyncio.gather(alice(), reader)

    seen, message = asyncio.run(asyncio.wait_for(both(), 2 * DEADLINE_S))

    assert seen == [
        AUTH_SUCCESS,
        EMPTY_Q,
        ack_1("HELLO", author=ALICE, to=BOB),
        receipt("HELLO", 2, author=ALICE, by=BOB, t=1566970629),
    ]
    assert message == delivery("HELLO", author=ALICE)


@contextmanager
def process_of(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(NODE is None, reason="no node on PATH")
def test_nodes_websocket_chats(relay: Relay) -> None:
    assert NODE is not None
    bob = relay.login(BOB)

    with process_of([NODE, "--experimental-websocket", "-e", script_for(relay)]) as node:
        converse_with_script(bob)

        assert node.wait(DEADLINE_S) == 0


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_a_page_in_a_headless_chromium_chats(relay: Relay, tmp_path: Path) -> None:
    assert CHROMIUM is not None
    bob = relay.login(BOB)
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><meta charset=utf-8><script>{script_for(relay)}</script>")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"

    with process_of([CHROMIUM, *options, profile, page.as_uri()]):
        converse_with_script(bob)
