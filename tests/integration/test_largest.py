"""An operator sees who sends most, and who fills the disk."""

from __future__ import annotations

import json
import signal

import pytest

from tests.outside.operator import Operator
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command

pytestmark = pytest.mark.ordeal


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    relay = start_relay(admin=True, fronts=2)
    Operator(relay).ask("/api/v1/status")
    return relay


def send(relay: Relay, author: str, **counts: int) -> None:
    client = relay.login(author)
    for user, count in counts.items():
        for n in range(count):
            client.send_message(user, f"{author}-{user}-{n}", {"conversation": "x" * 100})
            client.recv()


def test_the_largest_mailboxes_come_first_and_so_do_the_authors(relay: Relay) -> None:
    send(relay, "writer", much=9, some=4, little=1)
    send(relay, "other", some=1)
    relay.login("some")  # its totals are in memory alone

    found = Operator(relay).ask("/api/v1/mailboxes").json

    boxes = [(each["jid"].partition("@")[0], each["messages"]) for each in found["mailboxes"]]
    assert boxes == [("much", 9), ("some", 5), ("little", 1)]
    authors = [(each["jid"].partition("@")[0], each["messages"]) for each in found["authors"]]
    assert authors == [("writer", 14), ("other", 1)]
    assert found["mailboxes"][0]["size"] > 900
    assert (found["more"], found["not_asked"]) == (False, [])
    few = Operator(relay).ask("/api/v1/mailboxes?limit=1&by=entries").json
    assert [each["messages"] for each in few["mailboxes"]] == [9]
    assert Operator(relay).ask("/api/v1/mailboxes?by=age").status == 400


def test_the_command_shows_them(relay: Relay) -> None:
    nothing = command(relay, "mailboxes")
    send(relay, "writer", much=3)

    shown = command(relay, "mailboxes")

    assert (nothing.returncode, nothing.stdout) == (0, "nothing waits for anybody\n")
    assert shown.stdout.splitlines()[1].startswith("much@s.whatsapp.com")
    assert json.loads(command(relay, "mailboxes", "--json").stdout)["looked_at"] == 2


def test_a_worker_that_is_stopped_is_named(relay: Relay) -> None:
    send(relay, "writer", one=1, two=1, three=1, four=1, five=1)
    stopped = relay.children("worker")[0]
    stopped.process.send_signal(signal.SIGSTOP)
    try:
        answer = Operator(relay).ask("/api/v1/mailboxes")
    finally:
        stopped.process.send_signal(signal.SIGCONT)

    assert [(each["role"], each["index"]) for each in answer.json["not_asked"]] == [("worker", 0)]
    assert 0 < len(answer.json["mailboxes"]) < 5
    assert answer.took_s < 2


def test_who_sends_most_is_told_and_shown_by_top(relay: Relay) -> None:
    send(relay, "busy", nobody=60)
    send(relay, "quiet", nobody=1)

    def first() -> str:
        senders = Operator(relay).ask("/api/v1/senders").json["senders"]
        return str(senders[0]["jid"]) if senders else ""

    poll_for("who sends most", lambda: first() == "busy@s.whatsapp.com")
    assert "most is sent by  busy@s.whatsapp.com " in command(relay, "top", "--once").stdout


def test_where_nobody_is_connected_that_is_said(relay: Relay) -> None:
    shown = [command(relay, *words) for words in (("users",), ("bans",), ("queue", "nobody"))]

    assert [each.stdout for each in shown] == [
        "nobody is connected\n",
        "nobody is banned\n",
        "nothing waits\n",
    ]
