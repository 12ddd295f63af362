"""The examples in docs/examples/, run as they are printed there, and killed in the middle."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.outside import chromium
from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, Frame, ack_1
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from ..documents import ROOT
from . import javascript
from .conftest import RelayStarter

EXAMPLES: Final = ROOT / "docs" / "examples"
URL: Final = '"ws://127.0.0.1:9011/"'
MOST_LINES: Final = 150
MOSQUITTO: Final = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
HAS_PAHO: Final = importlib.util.find_spec("paho") is not None

Starter = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """A function that starts a program in a directory of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: Path, *arguments: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, program, *arguments], cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)


def text_of(frame: Frame) -> str:
    text: str = frame[2][0]["message"]["conversation"]
    return text


def texts_heard(client: SheetClient, count: int) -> list[str]:
    """Return the texts of the next messages, in order; each is acked."""
    texts: list[str] = []
    while len(texts) < count:
        frame = client.recv()
        if frame[0] == "action":
            texts.append(text_of(frame))
            client.ack(frame)
    return texts


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES


@pytest.mark.parametrize("name", ["bot.py", "mqtt_bridge.py"])
def test_a_program_says_how_to_call_it(name: str) -> None:
    if name == "mqtt_bridge.py" and not HAS_PAHO:
        pytest.skip("needs paho-mqtt")
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=DEADLINE_S
    )

    assert done.returncode == 1
    assert f"python {name} " in done.stderr


# --- the bot ------------------------------------------------------------------------------------


def test_the_bot_answers_each_message_once_however_often_it_is_killed(
    shared_relay: Relay, start: Starter, people: tuple[str, str]
) -> None:
    alice_name, bot_name = people
    alice = shared_relay.login(alice_name)
    arguments = (shared_relay.url, bot_name)
    bot = start(EXAMPLES / "bot.py", *arguments)
    answers: list[str] = []
    for number in range(40):
        alice.send_message(bot_name, f"M{number}", {"conversation": f"{number}"})
        if number % 10 == 5:
            bot.kill()
            bot.wait(DEADLINE_S)
            bot = start(EXAMPLES / "bot.py", *arguments)
        answers += [text_of(f) for f in take(alice)]

    def all_came() -> bool:
        answers.extend(text_of(frame) for frame in take(alice))
        return answers[-1:] == ["You said: the end"]

    alice.send_message(bot_name, "END", {"conversation": "the end"})  # behind it nothing comes
    poll_for("all answers", all_came)
    assert answers == [f"You said: {said}" for said in (*range(40), "the end")]


def take(client: SheetClient) -> list[Frame]:
    """Return the messages that have come, and ack them."""
    frames = [frame for frame in client.recv_available() if frame[0] == "action"]
    for frame in frames:
        client.ack(frame)
    return frames


def test_a_bot_that_is_killed_between_answer_and_ack_does_not_answer_again(
    shared_relay: Relay, start: Starter, people: tuple[str, str], tmp_path: Path
) -> None:
    alice_name, bot_name = people
    text = (EXAMPLES / "bot.py").read_text()
    mark = "client.mark_read(message)"
    assert text.count(mark) == 1
    dying = tmp_path / "dying.py"
    dying.write_text(text.replace(mark, "__import__('os')._exit(9)"))
    alice = shared_relay.login(alice_name)
    alice.send_message(bot_name, "M", {"conversation": "hi"})
    alice.expect(ack_1("M", author=alice_name, to=bot_name))
    assert start(dying, shared_relay.url, bot_name).wait(DEADLINE_S) == 9
    assert texts_heard(alice, 1) == ["You said: hi"]

    # Another life, which would have answered otherwise.
    other = tmp_path / "other.py"
    other.write_text(text.replace("You said", "I heard"))
    start(other, shared_relay.url, bot_name)

    receipt = alice.recv()
    assert (receipt[1]["id"], receipt[1]["ack"]) == ("M", 3)
    alice.expect_nothing()


@pytest.fixture
def people(cast: Any) -> tuple[str, str]:
    return cast.alice, cast.bob


# --- the page -----------------------------------------------------------------------------------


@pytest.mark.skipif(chromium.executable() is None, reason="needs Chromium")
def test_the_page_of_ten_lines_chats(start_relay: RelayStarter) -> None:
    text = (EXAMPLES / "page.html").read_text()
    _, _, behind = text.partition('<script type="module">\n')
    assert len(behind.partition("</script>")[0].splitlines()) <= 10
    assert text.count(URL) == 1
    relay = start_relay(config='[server]\nallowed_origins = ["*"]')
    bob = relay.login(BOB)
    program = chromium.executable()
    assert program is not None
    with (
        javascript.site(text.replace(URL, f'"{relay.url}"')) as origin,
        chromium.open_page(program) as page,
    ):
        page.go(f"{origin}/?me={ALICE}")
        shown = "document.querySelector('pre').textContent"
        page.run(
            f"document.forms[0].to.value = '{BOB}'; document.forms[0].text.value = 'hello there';"
            "document.querySelector('button').click()"
        )
        assert texts_heard(bob, 1) == ["hello there"]
        poll_for("it is stored", lambda: page.run(shown) == f"to {BOB}: hello there\n")

        bob.send_message(ALICE, "M", {"conversation": "hi yourself"})

        poll_for("the answer", lambda: page.run(shown).endswith(f"{BOB}: hi yourself\n"))
        assert page.run("document.title") == "connected"
        page.run("document.forms[0].to.value = 'no one'; document.querySelector('button').click()")
        poll_for("why not", lambda: "no user" in page.run(shown))
        assert page.run("location.search") == f"?me={ALICE}", "the page is still there"


# --- the bridge ---------------------------------------------------------------------------------


@contextmanager
def broker(directory: Path) -> Iterator[int]:
    """Run a Mosquitto that holds back nothing; yield its port."""
    assert MOSQUITTO is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = directory / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n")
    process = subprocess.Popen([MOSQUITTO, "-c", config], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            return False
        return True

    try:
        poll_for("the broker", answers)
        yield port
    finally:
        process.kill()
        process.wait(DEADLINE_S)


@contextmanager
def publishing(port: int) -> Iterator[Callable[[str], None]]:
    """Yield a function that publishes at `sensors/door`, and returns when the broker has it."""
    from paho.mqtt import client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    publisher = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="a sensor")
    publisher.connect("127.0.0.1", port)
    publisher.loop_start()

    def publish(text: str) -> None:
        publisher.publish("sensors/door", text, qos=1).wait_for_publish(DEADLINE_S)

    try:
        yield publish
    finally:
        publisher.disconnect()
        publisher.loop_stop()


@pytest.mark.skipif(MOSQUITTO is None, reason="needs Mosquitto")
@pytest.mark.skipif(not HAS_PAHO, reason="needs paho-mqtt")
@pytest.mark.timeout(120)
def test_what_is_published_arrives_once_and_in_order_though_the_bridge_is_killed(
    shared_relay: Relay, people: tuple[str, str], start: Starter, tmp_path: Path
) -> None:
    bridge_name, reader_name = people
    reader = shared_relay.login(reader_name)
    heard: list[str] = []

    def listen() -> None:
        texts = (text_of(frame) for frame in take(reader))
        heard.extend(text for text in texts if not text.endswith(PROBE))

    with broker(tmp_path) as port, publishing(port) as publish:
        arguments = (
            *(f"127.0.0.1:{port}", "sensors/#"),
            *(shared_relay.url, bridge_name, reader_name),
        )
        bridge = start(EXAMPLES / "mqtt_bridge.py", *arguments)
        # What is published before the first subscription has no reader.
        poll_for("the bridge hears", lambda: hears(publish, reader))
        published = []
        for number in range(200):
            text = f"opened {number // 2}"  # each twice: equal texts are two messages
            publish(text)
            published.append(f"sensors/door: {text}")
            if number % 50 == 25:
                bridge.kill()
                bridge.wait(DEADLINE_S)
                listen()
            if number % 50 == 35:
                bridge = start(EXAMPLES / "mqtt_bridge.py", *arguments)

        def all_came() -> bool:
            listen()
            return heard[-1:] == published[-1:]

        publish("the end")  # behind it nothing comes
        published.append("sensors/door: the end")
        poll_for("all that was published", all_came, deadline_s=60)
    assert heard == published


PROBE: Final = "is anybody there?"


def hears(publish: Callable[[str], None], reader: SheetClient) -> bool:
    publish(PROBE)  # as often as is asked, until one is brought
    return bool(take(reader))
