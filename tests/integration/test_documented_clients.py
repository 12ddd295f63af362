"""The clients of README.md and docs/clients.md, run as they are printed there.

What needs no real relay to be seen, repeats and close codes, is shown with a scripted one.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from tests.client.fake_relay import FakeRelay, Script, Session, ack, error, message, queue
from tests.outside import chromium, node
from tests.outside.certificates import Authority
from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, Frame, ack_1, action, element, message_id_of, near
from tests.outside.people import Cast, shard_of
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from ..documents import ROOT, blocks_in, only_block, read
from . import javascript
from .conftest import RelayStarter

README = only_block(read("README.md"), "python", containing="asyncio.run")
CLIENT = only_block(read("docs/clients.md"), "python", containing="class Client")
README_URL = '"ws://127.0.0.1:9011/"'


class Program:
    """A Python program in a process of its own; what it prints is in a file."""

    def __init__(self, directory: Path, text: str, *arguments: str) -> None:
        path = directory / f"client-{len(list(directory.iterdir()))}.py"
        path.write_text(text)
        self._printed = path.with_suffix(".out")
        with self._printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, path, *arguments],
                stdin=subprocess.PIPE,
                stdout=printed,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    @property
    def lines(self) -> list[str]:
        return self._printed.read_text().splitlines()

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def wait_for(self, text: str) -> str:
        """Wait until a line with `text` was printed, and return it."""
        poll_for(f"{text!r} in what it prints", lambda: self._line_with(text) is not None)
        line = self._line_with(text)
        assert line is not None
        return line

    def _line_with(self, text: str) -> str | None:
        return next((line for line in self.lines if text in line), None)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)


Starter = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    programs: list[Program] = []

    def start(text: str, *arguments: str) -> Program:
        programs.append(Program(tmp_path, text, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.end()


def expect_receipt(author: SheetClient, message_id: str, level: int, by: str) -> Frame:
    """The next frame tells the author that `by` has reached `level`, just now."""
    frame = author.recv()
    assert frame[0] in ("Msg", "MsgInfo"), frame
    body = frame[1]
    acker = body.get("participant", body["to"])
    assert (body["id"], body["ack"], acker) == (message_id, level, f"{by}@c.us"), frame
    return frame


def readme_for(relay: Relay) -> str:
    assert README.count(README_URL) == 1
    return README.replace(README_URL, json.dumps(relay.url))


def test_readmes_client_acks_what_waited_and_what_comes_and_sends(
    shared_relay: Relay, cast: Cast, start: Starter
) -> None:
    alice = shared_relay.login(cast.alice)
    alice.send_message(cast.bob, "WAITING")
    alice.expect(ack_1("WAITING", author=cast.alice, to=cast.bob))
    alice.send_message(cast.group, "WAITING-IN-GROUP")
    alice.expect(ack_1("WAITING-IN-GROUP", author=cast.alice, to=cast.group))

    bob = start(readme_for(shared_relay), cast.bob)

    expect_receipt(alice, "WAITING", 2, cast.bob)
    expect_receipt(alice, "WAITING-IN-GROUP", 2, cast.bob)
    alice.send_message(cast.bob, "LIVE")
    alice.expect(ack_1("LIVE", author=cast.alice, to=cast.bob))
    expect_receipt(alice, "LIVE", 2, cast.bob)
    assert [line.split()[0] for line in bob.lines] == ["auth", "action", "action", "action"]

    carol = start(readme_for(shared_relay), cast.carol, cast.alice, "hello there")

    came = alice.recv()
    assert came[2][0]["message"] == {"conversation": "hello there"}
    assert came[2][0]["key"]["remoteJid"] == f"{cast.carol}@s.whatsapp.com"
    alice.ack(came)
    carol.wait_for("'ack': 1")
    carol.wait_for("'ack': 2")
    bob.end()
    assert shared_relay.login(cast.bob).queued == []


def test_the_documented_client_acks_what_waited_and_what_comes_and_sends(
    shared_relay: Relay, cast: Cast, start: Starter
) -> None:
    alice = shared_relay.login(cast.alice)
    alice.send(action(element(cast.bob, "W1"), element(cast.bob, "W2")))
    alice.expect(*(ack_1(f"W{n}", author=cast.alice, to=cast.bob) for n in (1, 2)))
    alice.send_message(cast.group, "W3", {"conversation": "to all"})
    alice.expect(ack_1("W3", author=cast.alice, to=cast.group))

    bob = start(CLIENT, shared_relay.url, cast.bob, cast.alice)

    for message_id in ("W1", "W2", "W3"):
        told = expect_receipt(alice, message_id, 2, cast.bob)
        assert near(told[1]["t"], time.time())
    assert bob.lines == [
        f'< {cast.alice}@s.whatsapp.com: {{"conversation": "Test msg"}}',
        f'< {cast.alice}@s.whatsapp.com: {{"conversation": "Test msg"}}',
        f'< {cast.alice}@s.whatsapp.net: {{"conversation": "to all"}}',
    ]

    bob.type("hello")

    came = alice.recv()
    message_id = message_id_of(came)
    assert came[2][0]["message"] == {"conversation": "hello"}
    bob.wait_for(f"{message_id} stored")
    alice.ack(came, 3)
    bob.wait_for(f"{message_id} read")

    alice.send_message(cast.bob, "LIVE")
    alice.expect(ack_1("LIVE", author=cast.alice, to=cast.bob))
    expect_receipt(alice, "LIVE", 2, cast.bob)
    # A newer login ends it, and shows that all was acked; a receipt may still wait for its pong.
    assert [frame[0] for frame in shared_relay.login(cast.bob).queued] in ([], ["Msg"])
    bob.wait_for("stopped: closed with 4409")
    assert bob.process.wait(DEADLINE_S) == 1


def test_the_documented_client_sends_again_under_the_same_id_after_a_crash(
    start_relay: RelayStarter, start: Starter
) -> None:
    relay = start_relay()
    [front] = relay.children("front")
    worker = relay.children("worker")[shard_of(ALICE)]
    bob = start(CLIENT, relay.url, BOB, ALICE)
    bob.type("one")
    bob.wait_for("stored")

    # Without its worker nobody can answer the send, and then the front dies with it.
    worker.process.send_signal(signal.SIGSTOP)
    bob.type("two")
    front.process.kill()
    poll_for("another front", lambda: bool(relay.children("front")))
    worker.process.send_signal(signal.SIGCONT)

    poll_for("both are stored", lambda: sum("stored" in line for line in bob.lines) == 2)
    came = relay.login(ALICE).queued
    assert [frame[2][0]["message"]["conversation"] for frame in came] == ["one", "two"]
    assert {line.split()[0] for line in bob.lines} == set(map(message_id_of, came))


# --- with a scripted relay --------------------------------------------------------------------


@pytest.fixture
def client_module(tmp_path: Path) -> ModuleType:
    path = tmp_path / "documented_client.py"
    path.write_text(CLIENT)
    spec = importlib.util.spec_from_file_location("documented_client", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Dice:
    """Stands in for the module's `random`: no wait is long, and what was asked for is kept."""

    def __init__(self) -> None:
        self.bounds: list[tuple[float, float]] = []

    def uniform(self, low: float, high: float) -> float:
        self.bounds.append((low, high))
        return 0.0


@pytest.fixture
def dice(client_module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Dice:
    dice = Dice()
    monkeypatch.setattr(client_module, "random", dice)
    return dice


def play(
    module: ModuleType, *scripts: Script, before: Callable[[Any], object] = lambda client: None
) -> tuple[str, list[str]]:
    """Run the client of 919428284313 until it stops; return why, and what it was told."""
    events: list[str] = []

    async def run() -> str:
        async with FakeRelay(*scripts) as relay, asyncio.timeout(DEADLINE_S):
            client = module.Client(relay.url, f"{BOB}@s.whatsapp.com")
            client.received = lambda chat, author, body: events.append(body["conversation"])
            client.told = lambda message_id, what: events.append(what)
            before(client)
            reason: str = await client.run()
            return reason

    return asyncio.run(run()), events


async def receive_ack(session: Session) -> tuple[str, str, int]:
    tag, body = await session.receive()
    return tag, body["id"], body["ack"]


async def replace(session: Session) -> None:
    await session.close(4409)


async def drop(session: Session) -> None:
    await session.receive()
    await session.drop()


@pytest.mark.parametrize("code", [1007, 1008, 4401, 4409])
def test_the_documented_client_stops_at_a_close_that_would_come_again(
    client_module: ModuleType, code: int
) -> None:
    async def close(session: Session) -> None:
        await session.log_in()
        await session.close(code)

    assert play(client_module, close) == (f"closed with {code}", [])


@pytest.mark.usefixtures("dice")
@pytest.mark.parametrize("code", [1000, 1001, 1009, 1011, 1012, 1013])
def test_the_documented_client_comes_back_after_any_other_close(
    client_module: ModuleType, code: int
) -> None:
    async def close(session: Session) -> None:
        await session.log_in()
        await session.close(code)

    reason, _ = play(client_module, close, replace)

    assert reason == "closed with 4409"


def test_the_documented_clients_waits_are_full_jitter_and_a_login_starts_afresh(
    client_module: ModuleType, dice: Dice
) -> None:
    async def log_in_and_drop(session: Session) -> None:
        await session.log_in()
        await session.drop()

    play(client_module, *[drop] * 8, log_in_and_drop, drop, replace)

    longest = [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5, 1]
    assert dice.bounds == [(0, most) for most in longest]


@pytest.mark.usefixtures("dice")
def test_the_documented_client_waits_as_long_as_it_is_asked_to(client_module: ModuleType) -> None:
    times: list[float] = []

    async def refuse(session: Session) -> None:
        await session.receive()
        await session.send(["auth", failure(429, retryAfter=0.2)])
        times.append(time.monotonic())

    async def shut_down(session: Session) -> None:
        times.append(time.monotonic())
        await session.log_in()
        await session.send(["Cmd", {"type": "disconnect", "kind": "shutdown", "retryAfter": 0.2}])
        await session.close(1012)

    async def come_back(session: Session) -> None:
        times.append(time.monotonic())
        await session.close(4409)

    play(client_module, refuse, shut_down, come_back)

    refused, second, third = times
    assert second - refused >= 0.2
    assert third - second >= 0.2


def failure(code: int, **more: object) -> dict[str, object]:
    return {"from": "backend", "status": "failure", "code": code, "reason": "why", **more}


def test_the_documented_client_stops_where_its_login_is_refused(client_module: ModuleType) -> None:
    async def refuse(session: Session) -> None:
        await session.receive()
        await session.send(["auth", failure(400)])

    assert play(client_module, refuse) == ("400 why", [])


@pytest.mark.usefixtures("dice")
def test_the_documented_client_shows_a_message_once_and_acks_each_copy(
    client_module: ModuleType,
) -> None:
    direct = message("M", "once", chat=f"{ALICE}@s.whatsapp.com")
    # The same id in another chat, and of another member, are other messages.
    first = message("M", "hi all", chat="1-2@g.us", by=f"{ALICE}@s.whatsapp.net")
    second = message("M", "hi you", chat="1-2@g.us", by="1@s.whatsapp.net")
    acks = []

    async def twice(session: Session) -> None:
        await session.log_in(queue(direct, first), queue(second))
        await session.send(direct)
        acks.extend([await receive_ack(session) for _ in range(4)])
        await session.drop()

    async def again(session: Session) -> None:
        await session.log_in(queue(direct))
        acks.append(await receive_ack(session))
        await session.close(4409)

    _, events = play(client_module, twice, again)

    assert events == ["once", "hi all", "hi you"]
    groups = [("MsgInfo", "M", 2)] * 2
    assert acks == [("Msg", "M", 2), *groups, ("Msg", "M", 2), ("Msg", "M", 2)]


@pytest.mark.usefixtures("dice")
def test_the_documented_client_resends_in_order_what_has_no_ack_1(
    client_module: ModuleType,
) -> None:
    sent = []

    async def lose(session: Session) -> None:
        await session.log_in()
        sent.extend([await session.receive_send() for _ in range(3)])
        await session.send(ack(sent[0][0]))
        await session.drop()

    async def take(session: Session) -> None:
        await session.log_in()
        sent.extend([await session.receive_send() for _ in range(2)])
        await session.send(ack(sent[1][0]), ack(sent[1][0], 3), ack(sent[2][0]))
        await session.close(4409)

    def before(client: Any) -> None:
        for text in "abc":
            client.send(ALICE, text)

    _, events = play(client_module, lose, take, before=before)

    assert [text for _, text in sent] == ["a", "b", "c", "b", "c"]
    assert sent[3:] == sent[1:3], "under the same ids"
    assert events == ["stored", "stored", "read", "stored"]


@pytest.mark.usefixtures("dice")
def test_the_documented_client_tries_a_send_again_only_where_that_may_help(
    client_module: ModuleType,
) -> None:
    async def refuse(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        for code in (429, 503, 500, 507):
            await session.send(error(code, "why", id=message_id, tag="action", retryAfter=0.01))
            assert await session.receive_send() == (message_id, "a")
        await session.send(error(403, "not a member", id=message_id, tag="action"))
        await session.send(error(400, "unknown frame"))
        await session.close(4409)

    _, events = play(client_module, refuse, before=lambda client: client.send("1-2@g.us", "a"))

    assert events == ["failed: 403 not a member", "failed: 400 unknown frame"]


@pytest.mark.usefixtures("dice")
def test_the_documented_client_does_not_send_what_was_too_large_again(
    client_module: ModuleType,
) -> None:
    async def refuse(session: Session) -> None:
        await session.log_in()
        assert [(await session.receive_send())[1] for _ in range(3)] == ["a", "long", "b"]
        await session.close(1009)

    async def take(session: Session) -> None:
        await session.log_in()
        assert [(await session.receive_send())[1] for _ in range(2)] == ["a", "b"]
        await session.close(4409)

    def before(client: Any) -> None:
        for text in ("a", "long", "b"):
            client.send(ALICE, text)

    reason, events = play(client_module, refuse, take, before=before)

    assert reason == "closed with 4409"
    assert events == ["failed: too long for this relay"]


@pytest.mark.usefixtures("dice")
def test_the_documented_client_names_the_frame_that_an_error_is_about(
    client_module: ModuleType,
) -> None:
    told = []

    async def refuse(session: Session) -> None:
        await session.log_in()
        await session.send(error(400, "ack: 2 to 4", tag="Msg"), error(400, "no frame"))
        await session.close(4409)

    def before(client: Any) -> None:
        client.told = lambda what, why: told.append((what, why))

    play(client_module, refuse, before=before)

    assert told == [("Msg", "failed: 400 ack: 2 to 4"), ("a frame", "failed: 400 no frame")]


def in_docs(language: str, relay: Relay) -> str:
    text = only_block(read("docs/clients.md"), language, containing="relay-client")
    assert text.count(README_URL) == 1
    return text.replace(README_URL, json.dumps(relay.url))


@pytest.mark.skipif(chromium.executable() is None, reason="needs Chromium")
def test_the_documented_page_chats(start_relay: RelayStarter) -> None:
    relay = start_relay(config='[server]\nallowed_origins = ["*"]')
    program = chromium.executable()
    assert program is not None
    bob = relay.login(BOB)
    with (
        javascript.site(in_docs("html", relay)) as origin,
        chromium.open_page(program) as page,
    ):
        page.go(f"{origin}/?me={ALICE}")
        lines = "[...document.querySelectorAll('li')].map((line) => line.textContent)"
        page.run(
            f"document.forms[0].to.value = '{BOB}'; document.forms[0].text.value = 'hello there';"
            "document.querySelector('button').click()"
        )
        came = bob.recv()
        assert came[2][0]["message"] == {"conversation": "hello there"}
        poll_for("the first tick", lambda: page.run(lines) == ["you: hello there ✓"])
        bob.ack(came)
        poll_for("the second", lambda: page.run(lines) == ["you: hello there ✓✓"])
        bob.ack(came, 3)
        poll_for("the third", lambda: page.run(lines) == ["you: hello there read"])

        bob.send_message(ALICE, "M", {"conversation": "hi yourself"})

        bob.expect(ack_1("M", author=BOB, to=ALICE))
        expect_receipt(bob, "M", 3, ALICE)
        assert page.run(lines)[1:] == [f"{BOB}: hi yourself"]
        page.run(
            "globalThis.uncaught = [];"
            "for (const type of ['error', 'unhandledrejection'])"
            "  addEventListener(type, () => uncaught.push(type));"
        )
        for to in ("a b", "no-such-group@g.us"):
            page.run(
                f"document.forms[0].to.value = '{to}'; document.forms[0].text.value = 'hm';"
                "document.querySelector('button').click()"
            )
        poll_for(
            "why not", lambda: page.run(lines)[2:] == ['no user: "a b"', "you: hm unknown group"]
        )
        assert page.run("uncaught") == []
        assert page.run("document.title") == "Chat"
        relay.login(ALICE)
        poll_for("its end", lambda: "logged in elsewhere" in page.run(lines)[-1])


@pytest.mark.skipif(node.executable() is None, reason="needs node")
def test_the_documented_program_for_node_answers(shared_relay: Relay, tmp_path: Path) -> None:
    text = in_docs("js", shared_relay)
    # As `npm install` lays it out, but for the minifier; that package has tests of its own. The
    # WebSocket is Node's own, since ws may not be there.
    modules = tmp_path / "node_modules"
    (modules / "relay-client" / "dist").mkdir(parents=True)
    (modules / "ws").mkdir()
    shutil.copy(javascript.MODULE, modules / "relay-client" / "dist")
    shutil.copy(javascript.MODULE.with_name("package.json"), modules / "relay-client")
    (modules / "ws" / "index.mjs").write_text("export default WebSocket;")
    (modules / "ws" / "package.json").write_text('{"exports": "./index.mjs"}')
    (tmp_path / "bot.mjs").write_text(text)
    program = node.executable()
    assert program is not None
    bob = shared_relay.login(ALICE)
    with subprocess.Popen(
        [program, "--experimental-websocket", "--no-warnings", "bot.mjs"], cwd=tmp_path
    ) as process:
        try:
            bob.send_message("919428284313", "M", {"conversation": "hi"})
            bob.expect(ack_1("M", author=ALICE, to="919428284313"))
            expect_receipt(bob, "M", 3, "919428284313")
            assert bob.recv()[2][0]["message"] == {"conversation": "You said: hi"}
        finally:
            process.kill()


def test_the_documented_client_says_how_to_call_it(start: Starter) -> None:
    program = start(CLIENT)

    assert program.process.wait(DEADLINE_S) == 1
    assert program.lines == [
        "A client of the relay: python client.py URL ME [PEER]; what is typed goes to PEER."
    ]


def test_the_documented_client_says_something_when_it_was_silent_for_long(
    client_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "SILENCE_S", 0.01)

    async def hear(session: Session) -> None:
        await session.log_in()
        assert await session.receive_text() == "?,,"
        await session.send_text("!1566970629123")
        await session.send(message("M", "still there", chat=f"{ALICE}@s.whatsapp.com"))
        while await session.receive_text() == "?,,":
            pass
        await session.close(4409)

    assert play(client_module, hear) == ("closed with 4409", ["still there"])


def test_the_documented_client_does_not_send_what_no_relay_takes(
    client_module: ModuleType,
) -> None:
    async def hear(session: Session) -> None:
        await session.log_in()
        assert (await session.receive_send())[1] == "short"
        await session.close(4409)

    def before(client: Any) -> None:
        client.send(ALICE, "x" * 60_000)
        client.send(ALICE, "short")

    _, events = play(client_module, hear, before=before)

    assert events == ["failed: too long"]


# --- the quick starts -------------------------------------------------------------------------


def of_the_docs(language: str, containing: str) -> str:
    return only_block(read("docs/clients.md"), language, containing=containing)


def test_the_documented_bot_answers(shared_relay: Relay, cast: Cast, start: Starter) -> None:
    text = of_the_docs("python", "client.messages():\n            client.mark_read")
    alice = shared_relay.login(cast.alice)
    start(text.replace(README_URL, json.dumps(shared_relay.url)).replace(BOB, cast.bob))

    alice.send_message(cast.bob, "M", {"conversation": "hi"})

    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    expect_receipt(alice, "M", 3, cast.bob)
    assert alice.recv()[2][0]["message"] == {"conversation": "You said: hi"}


def test_the_documented_script_asks_and_hears(
    shared_relay: Relay, cast: Cast, start: Starter
) -> None:
    text = of_the_docs("python", "SyncClient")
    for name, stands_in in ((README_URL, json.dumps(shared_relay.url)), (ALICE, cast.alice)):
        assert text.count(name) == 1
        text = text.replace(name, stands_in)
    bob = shared_relay.login(cast.bob)
    program = start(text.replace(BOB, cast.bob).replace("timeout_s=10", "timeout_s=2"))

    came = bob.recv()
    bob.ack(came)
    bob.send_message(cast.alice, "M", {"conversation": "well"})

    assert came[2][0]["message"] == {"conversation": "how are you?"}
    program.wait_for(f"{cast.bob}: well")
    assert program.process.wait(DEADLINE_S) == 0
    waits = shared_relay.login(cast.alice).queued
    assert [frame for frame in waits if frame[0] == "action"] == [], "it has acked"


def test_the_documented_way_to_trust_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(Authority().pem)
    names: dict[str, Any] = {}

    exec(of_the_docs("python", "tls_context"), names)

    assert names["client"].url == "wss://chat.example.org/"
    assert names["tls"].get_ca_certs()


@pytest.mark.parametrize("containing", ["127.0.0.1:8000", "chat_url"])
def test_the_documented_settings_let_a_page_in(tmp_path: Path, containing: str) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(of_the_docs("toml", containing))

    done = subprocess.run(
        [sys.executable, "-m", "relay", "serve", "--config", path, "--check-config"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert done.returncode == 0, done.stderr


def test_the_documented_copy_of_the_chat_page_is_whole(tmp_path: Path) -> None:
    copy, _, serve = of_the_docs("console", "http.server").removeprefix("$ ").partition(" && ")
    home = {**os.environ, "HOME": str(tmp_path)}

    subprocess.run(["sh", "-c", copy], cwd=ROOT, env=home, check=True, timeout=40)

    assert serve.endswith("--directory ~/chat\n")
    copied = {path.name for path in (tmp_path / "chat").iterdir() if not path.is_symlink()}
    assert copied == {"index.html", "chat.css", "chat.js", "relay-client.js"}


def test_the_documented_commands_of_a_shell_do_what_is_said(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay()
    (tmp_path / "relay").write_text(f'#!/bin/sh\nexec {sys.executable} -m relay "$@"\n')
    (tmp_path / "relay").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    lines = [
        line.removeprefix("$ ")
        for line in of_the_docs("console", "relay send").splitlines()
        if line.startswith("$ ")
    ]
    said = []
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=ROOT,
            env={**os.environ, "PATH": path, "RELAY_URL": relay.url},
            capture_output=True,
            text=True,
            timeout=40,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.splitlines())

    [[_], [sent], heard] = said
    assert sent == "df-today"
    shown = json.loads(of_the_docs("", '"id":"df-today"'))
    came = [json.loads(line) for line in heard]
    assert [each["text"].split()[0] for each in came] == ["backup", "Filesystem"]
    assert [list(each) for each in came] == [list(shown)] * 2
    alike = ("type", "id", "chat", "sender", "isGroup")
    assert {name: came[1][name] for name in alike} == {name: shown[name] for name in alike}


# Language, and what the block holds: each has a test in this file.
RUN: Final = (
    ("html", "relay-client.js"),
    ("js", "relay-client"),
    ("toml", "allowed_origins"),
    ("python", "client.mark_read"),
    ("python", "SyncClient"),
    ("python", "tls_context"),
    ("python", "class Client"),
    ("console", "relay send"),
    ("console", "http.server"),
    ("", '"id":"df-today"'),
    ("json", "["),
)


def test_every_block_of_the_page_is_run() -> None:
    left = [
        block
        for block in blocks_in(read("docs/clients.md"))
        if not any(block.language == kind and part in block.text for kind, part in RUN)
    ]

    assert left == []


def test_what_the_pages_show_of_frames_parses() -> None:
    shown = [block for block in blocks_in(read("docs/clients.md")) if block.language == "json"]

    assert len(shown) > 8
    assert all(isinstance(json.loads(block.text)[0], str) for block in shown)
