"""The lid of a machine is closed for a minute, at the default limits: who ran there loses nothing.

All stand still for the same minute, which is long to wait for. Limits at which the relay gives up
at once are in the tests of each client.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import pytest

from tests.outside import chromium, firefox, node
from tests.outside.processes import REPOSITORY, standing_still
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .javascript import Program, in_node, in_page, site
from .talker import Talker, numbered, open_talker
from .test_javascript_client import expect_all

pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(300)]

NODE: Final = node.executable()
CHROMIUM: Final = chromium.executable()
FIREFOX: Final = firefox.executable()
# A page is of another origin; all else is as it comes.
CONFIG: Final = '[server]\nallowed_origins = ["*"]\n'
LID_S: Final = 60
COME_BACK_S: Final = 60.0
COUNT: Final = 6  # of what the listener is to write


def test_whatever_ran_on_a_machine_whose_lid_was_closed_loses_nothing_and_repeats_nothing(
    start_relay: RelayStarter,
) -> None:
    """Programs of Python and Node, pages in Chromium and Firefox, and `relay listen`."""
    relay = start_relay(config=CONFIG)
    with ExitStack() as stack:
        away = stack.enter_context(open_talker(relay.url, "py1", "py2", "a", gap_s=0.05))
        home = stack.enter_context(open_talker(relay.url, "py2", "py1", "b", gap_s=0.2))
        listener = stack.enter_context(listening(relay, "listener"))
        scripts = scripts_in(stack, relay)
        for each in (away, home):
            poll_for("a login", lambda each=each: each.tell()["online"])  # type: ignore[misc]
        author = relay.login("author")
        author.send_message("listener", "M1")
        assert listener.stdout is not None
        assert json.loads(listener.stdout.readline())["id"] == "M1"
        for each in (away, home):
            each.talk()
        for number, (one, other) in enumerate(scripts):
            one.chatter(f"js{number}b", "a", times=50, gap_ms=50)
            other.chatter(f"js{number}a", "b", times=50, gap_ms=200)
        poll_for("some messages", lambda: len(home.tell()["got"]) >= 5)
        for _, other in scripts:
            other.wait_for("some messages", "got.length >= 5")

        with ExitStack() as still:
            pids = [away.pid, listener.pid, *(one.place.pid for one, _ in scripts)]
            for pid in pids:
                still.enter_context(standing_still(pid))
            for number in range(2, COUNT):
                author.send_message("listener", f"M{number}")
            time.sleep(LID_S)
            # The author has answered no ping either.
            relay.login("author").send_message("listener", f"M{COUNT}")

        expect_all_told((away, home, "a"), (home, away, "b"))
        assert away.tell()["connected"] >= 2
        for one, other in scripts:
            expect_all((one, other, "a"), (other, one, "b"))
            assert len(one.events("connected")) >= 2
        out, _ = listener.communicate(timeout=COME_BACK_S)
        assert [json.loads(line)["id"] for line in out.splitlines()] == [
            f"M{number}" for number in range(2, COUNT + 1)
        ]
        assert listener.returncode == 0
        poll_for("all is acked", lambda: not relay.login("listener").queued)


def expect_all_told(*pairs: tuple[Talker, Talker, str]) -> None:
    """Each author's messages have come once and in order, and their ticks are right."""
    for author, reader, name in pairs:
        all_of_it = numbered(name)
        count = len(all_of_it)
        poll_for(
            f"all of {name}, and its ticks",
            lambda a=author, r=reader, n=count: (  # type: ignore[misc]
                len(r.tell()["got"]) >= n and a.tell()["read"] >= n
            ),
            deadline_s=COME_BACK_S,
        )
        assert reader.tell()["got"] == all_of_it
        told = author.tell()
        assert [told[each] for each in ("sent", "read")] == [len(all_of_it)] * 2
        assert [told[each] for each in ("waiting", "failed", "ended")] == [0, 0, ""]


@contextmanager
def listening(relay: Relay, user: str) -> Iterator[subprocess.Popen[str]]:
    """Run `relay listen` until it has written so many messages."""
    with subprocess.Popen(
        [sys.executable, "-m", "relay", "listen", "--jid", user, "--json", "--count", str(COUNT)],
        cwd=REPOSITORY,
        env={**os.environ, "RELAY_URL": relay.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def scripts_in(stack: ExitStack, relay: Relay) -> list[tuple[Program, Program]]:
    """Open a program in Node and a page in each browser, as far as they are there; online.

    Each has another one at home: they are `js0a` and `js0b`, then `js1a` and `js1b`.
    """
    if NODE is None:
        return []
    away = [in_node(stack.enter_context(node.open_node(NODE)))]
    origin = stack.enter_context(site())
    for program, browser in ((CHROMIUM, chromium), (FIREFOX, firefox)):
        if program is not None:
            page = stack.enter_context(browser.open_page(program))
            page.go(f"{origin}/")
            away.append(in_page(page))
    pairs = [(each, in_node(stack.enter_context(node.open_node(NODE)))) for each in away]
    for number, pair in enumerate(pairs):
        for each, letter in zip(pair, "ab", strict=True):
            each.start(relay.url, f"js{number}{letter}", reads=True)
            each.wait_online()
    return pairs
