"""`relay send` and `relay listen`, as shells and scripts run them, with a real relay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.outside.frames import ALICE, BOB, GROUP, Frame, ack_1, action, element
from tests.outside.network import Network
from tests.outside.people import Cast
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from .conftest import RelayStarter
from .test_tokens import config as token_config
from .test_tokens import token_of


def relay_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def send(relay: Relay, me: str, to: str, *more: object) -> subprocess.CompletedProcess[str]:
    return relay_command("send", to, *more, "--jid", me, "--url", relay.url)


class Listener:
    """`relay listen`, and what it has written."""

    def __init__(self, relay: Relay, me: str, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "relay", "listen", "--jid", me, *options],
            cwd=REPOSITORY,
            env={**os.environ, "RELAY_URL": relay.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, out, err


@pytest.fixture
def listen() -> Iterator[type[Listener]]:
    started: list[Listener] = []

    class Started(Listener):
        def __init__(self, relay: Relay, me: str, *options: str) -> None:
            super().__init__(relay, me, *options)
            started.append(self)

    yield Started
    for each in started:
        each.process.kill()
        each.process.communicate(timeout=DEADLINE_S)


# --- send ---------------------------------------------------------------------------------------


def test_a_message_is_stored_when_it_returns_and_its_id_is_printed(
    shared_relay: Relay, cast: Cast
) -> None:
    done = send(shared_relay, cast.alice, cast.bob, "backup done")

    assert (done.returncode, done.stderr) == (0, "")
    [frame] = shared_relay.login(cast.bob).queued
    assert frame[2][0]["message"] == {"conversation": "backup done"}
    assert frame[2][0]["key"]["id"] == done.stdout.strip()


def test_the_same_id_is_one_message_and_another_text_is_refused(
    shared_relay: Relay, cast: Cast
) -> None:
    first = send(shared_relay, cast.alice, cast.bob, "paid", "--id", "invoice-17")
    again = send(shared_relay, cast.alice, cast.bob, "paid", "--id", "invoice-17")
    other = send(shared_relay, cast.alice, cast.bob, "not paid", "--id", "invoice-17")

    assert (first.returncode, again.returncode, other.returncode) == (0, 0, 1)
    assert first.stdout == again.stdout == "invoice-17\n"
    assert other.stdout == ""
    assert other.stderr.startswith("relay send: send refused: ")
    assert "(409)" in other.stderr
    assert len(shared_relay.login(cast.bob).queued) == 1


def test_a_text_may_come_from_standard_input(shared_relay: Relay, cast: Cast) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "relay", "send", cast.group, "-"],
        cwd=REPOSITORY,
        env={**os.environ, "RELAY_JID": cast.alice, "RELAY_URL": shared_relay.url},
        input="two\nlines — and a dash\n",
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )

    assert done.returncode == 0, done.stderr
    [frame] = shared_relay.login(cast.bob).queued
    assert frame[2][0]["message"] == {"conversation": "two\nlines — and a dash"}


def test_it_may_wait_until_the_other_has_read_it(shared_relay: Relay, cast: Cast) -> None:
    bob = shared_relay.login(cast.bob)
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "relay", "send", cast.bob, "urgent", "--jid", cast.alice),
            *("--url", shared_relay.url, "--wait", "read", "--id", "U"),
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        came = bob.recv()
        bob.ack(came)
        time.sleep(0.3)
        assert process.poll() is None, "delivered is not read"
        bob.ack(came, 3)
        assert process.wait(DEADLINE_S) == 0
        assert process.stdout is not None
        assert process.stdout.read() == "U\n"


def test_stored_but_not_delivered_in_time_is_4(shared_relay: Relay, cast: Cast) -> None:
    options = ("--wait", "delivered", "--timeout", "500ms", "--id", "M")

    done = send(shared_relay, cast.alice, cast.bob, "hi", *options)

    assert (done.returncode, done.stdout) == (4, "M\n")
    assert done.stderr == "relay send: M not delivered within 0.5 s\n"


def test_what_no_relay_stores_in_time_is_3_and_says_why() -> None:
    url = "ws://127.0.0.1:9/"
    options = ("--url", url, "--timeout", "300ms", "--id", "M")

    done = relay_command("send", BOB, "hi", "--jid", ALICE, *options)

    assert (done.returncode, done.stdout) == (3, "")
    why = f"no relay answers at {url} (connection refused)"
    assert done.stderr == f"relay send: M not sent within 0.3 s: {why}\n"


def test_it_goes_on_trying_while_the_relay_is_away(start_relay: RelayStarter) -> None:
    relay = start_relay()
    with Network(relay.port) as network:
        network.cut()
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "relay", "send", BOB, "hi", "--jid", ALICE),
                *("--url", f"ws://127.0.0.1:{network.port}/"),
            ],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
        ) as process:
            poll_for("a first try", lambda: network.turned_away > 0)
            network.mend()
            assert process.wait(DEADLINE_S) == 0
    assert len(relay.login(BOB).queued) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([BOB, "hi"], "Missing option '--jid'"),
        ([BOB, "", "--jid", ALICE], "there is no text to send"),
        ([BOB, "hi", "--jid", GROUP], "no user jid"),
        (["a b", "hi", "--jid", ALICE], "no user jid"),
        ([BOB, "hi", "--jid", ALICE, "--wait", "seen"], "'seen'"),
        ([BOB, "hi", "--jid", ALICE, "--timeout", "5"], "no time such as 30s"),
        ([BOB, "hi", "--jid", ALICE, "--url", "http://h/"], "scheme isn't ws or wss"),
        ([BOB, "hi", "--jid", ALICE, "--ca-file", "x"], "is not wss://"),
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments: list[str], reason: str) -> None:
    done = relay_command("send", *arguments)

    assert done.returncode == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_what_no_relay_takes_is_refused_before_it_is_asked() -> None:
    done = relay_command("send", BOB, "x" * 100, "--jid", ALICE, "--id", "a\nb")

    assert done.returncode == 1
    assert "1 to 128 characters" in done.stderr


def test_a_token_is_shown_and_without_one_it_is_refused(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(config=token_config(tmp_path))
    (tmp_path / "token").write_text(token_of(ALICE, left_s=600))

    refused = send(relay, ALICE, BOB, "hi")
    accepted = send(relay, ALICE, BOB, "hi", "--token-file", tmp_path / "token")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "(401)" in refused.stderr
    assert accepted.returncode == 0, accepted.stderr


def test_an_interrupt_ends_it_at_once(shared_relay: Relay, cast: Cast) -> None:
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "relay", "send", cast.bob, "hi", "--jid", cast.alice),
            *("--url", shared_relay.url, "--wait", "read"),
        ],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        shared_relay.login(cast.bob).recv()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
        assert process.stderr is not None
        assert process.stderr.read().strip() == ""


def test_receipts_do_not_pile_up_for_who_is_logged_in_for_moments_only(
    shared_relay: Relay, cast: Cast
) -> None:
    alice, bob = shared_relay.login(cast.alice), shared_relay.login(cast.bob)
    alice.send(action(*(element(cast.bob, f"M{number}") for number in range(120))))
    for number in range(120):
        alice.expect(ack_1(f"M{number}", author=cast.alice, to=cast.bob))
    alice.close()
    for _ in range(120):
        bob.ack(bob.recv())
    poll_for("they wait", lambda: len(receipts_of(shared_relay, cast.alice)) == 120)

    done = send(shared_relay, cast.alice, cast.bob, "one more")

    assert done.returncode == 0, done.stderr
    assert len(receipts_of(shared_relay, cast.alice)) <= 1


def receipts_of(relay: Relay, user: str) -> list[Frame]:
    """Return the receipts that wait; a look at them confirms none."""
    client = relay.login(user)
    client.close()
    return [frame for frame in client.queued if frame[0] == "Msg"]


# --- listen -------------------------------------------------------------------------------------


def test_each_message_is_a_line_of_json_and_is_acked(
    shared_relay: Relay, cast: Cast, listen: type[Listener]
) -> None:
    alice = shared_relay.login(cast.alice)
    alice.send_message(cast.bob, "WAITED", {"conversation": "hi — 🙂"})
    alice.expect(ack_1("WAITED", author=cast.alice, to=cast.bob))

    bob = listen(shared_relay, cast.bob, "--json", "--count", "2")

    said = json.loads(bob.line())
    assert said == {
        "type": "message",
        "id": "WAITED",
        "chat": cast.alice,
        "sender": cast.alice,
        "body": {"conversation": "hi — 🙂"},
        "t": said["t"],
        "text": "hi — 🙂",
        "isGroup": False,
    }
    receipt = alice.recv()
    assert (receipt[1]["id"], receipt[1]["ack"]) == ("WAITED", 2)
    alice.send_message(cast.group, "LIVE", {"imageMessage": {"url": "cat.jpg"}})
    alice.expect(ack_1("LIVE", author=cast.alice, to=cast.group))
    said = json.loads(bob.line())
    assert (said["chat"], said["sender"], said["text"]) == (cast.group, cast.alice, "")
    code, out, _ = bob.end()
    assert (code, out) == (0, "")
    assert shared_relay.login(cast.bob).queued == [], "the last was acked before it ended"


def test_without_acks_all_comes_again(
    shared_relay: Relay, cast: Cast, listen: type[Listener]
) -> None:
    alice = shared_relay.login(cast.alice)
    alice.send_message(cast.bob, "M", {"conversation": "\x1b[2Jhi"})
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))

    for _ in range(2):
        code, out, err = listen(shared_relay, cast.bob, "--no-ack", "--for", "1s").end()

        assert (code, out) == (0, f"{cast.alice}: ␛[2Jhi\n")
        assert err == "relay listen: connected\n"
    assert len(shared_relay.login(cast.bob).queued) == 1


def test_too_few_in_time_is_3(shared_relay: Relay, cast: Cast, listen: type[Listener]) -> None:
    code, out, _ = listen(shared_relay, cast.bob, "--count", "1", "--for", "500ms").end()

    assert (code, out) == (3, "")


def test_a_line_that_nobody_reads_any_more_is_not_acked(
    shared_relay: Relay, cast: Cast, listen: type[Listener]
) -> None:
    alice = shared_relay.login(cast.alice)
    bob = listen(shared_relay, cast.bob, "--json")
    alice.send_message(cast.bob, "A")
    assert json.loads(bob.line())["id"] == "A"
    assert bob.process.stdout is not None
    bob.process.stdout.close()

    alice.send_message(cast.bob, "B")

    assert bob.process.wait(DEADLINE_S) == 0
    queued = shared_relay.login(cast.bob).queued
    assert [frame[2][0]["key"]["id"] for frame in queued] == ["B"]


def test_what_cannot_be_written_is_told_and_not_acked(shared_relay: Relay, cast: Cast) -> None:
    alice = shared_relay.login(cast.alice)
    alice.send_message(cast.bob, "M")
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "relay", "listen"),
                *("--jid", cast.bob, "--url", shared_relay.url),
            ],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=DEADLINE_S,
        )
    assert done.returncode == 1
    why = "relay listen: nothing can be written: No space left on device"
    assert done.stderr.splitlines() == ["relay listen: connected", why]
    assert len(shared_relay.login(cast.bob).queued) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_in_order(
    shared_relay: Relay, cast: Cast, listen: type[Listener], number: signal.Signals, code: int
) -> None:
    bob = listen(shared_relay, cast.bob, "--json")
    alice = shared_relay.login(cast.alice)
    alice.send_message(cast.bob, "A")
    bob.line()
    poll_for("the receipt", lambda: any(f[1]["ack"] == 2 for f in alice.recv_available()))

    bob.process.send_signal(number)

    found, out, err = bob.end()
    assert (found, out) == (code, "")
    assert "Traceback" not in err


def test_a_message_whose_listener_is_killed_behind_its_line_comes_again_or_is_acked(
    shared_relay: Relay, cast: Cast, listen: type[Listener]
) -> None:
    alice = shared_relay.login(cast.alice)
    for number in range(20):
        alice.send_message(cast.bob, f"M{number}")
    seen = set()
    for _ in range(3):
        bob = listen(shared_relay, cast.bob, "--json")
        seen.add(json.loads(bob.line())["id"])
        bob.process.kill()
        bob.process.wait(DEADLINE_S)
        # Not `communicate`, which knows nothing of what was read together with the first line.
        assert bob.process.stdout is not None
        out = bob.process.stdout.read()
        seen |= {json.loads(line)["id"] for line in out.splitlines() if line.endswith("}")}

    _, out, _ = listen(shared_relay, cast.bob, "--json", "--for", "1s").end()

    seen |= {json.loads(line)["id"] for line in out.splitlines()}
    assert seen == {f"M{number}" for number in range(20)}


def test_who_is_replaced_ends_with_1(
    shared_relay: Relay, cast: Cast, listen: type[Listener]
) -> None:
    bob = listen(shared_relay, cast.bob)
    assert bob.process.stderr is not None
    assert bob.process.stderr.readline() == "relay listen: connected\n"

    shared_relay.login(cast.bob)

    code, _, err = bob.end()
    assert code == 1
    assert err == "relay listen: replaced: the same user logged in elsewhere\n"
