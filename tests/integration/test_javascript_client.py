"""The JavaScript client and a real relay: in Node, and in pages of a real Chromium and Firefox.

Deno and Bun, and Firefox, where they are installed, have the basic scenes.
"""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.outside import chromium, firefox, node
from tests.outside.client import SheetClient
from tests.outside.frames import ALICE, BOB, GROUP, Frame, message_id_of
from tests.outside.network import Network
from tests.outside.processes import standing_still
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .javascript import Program, in_node, in_page, site
from .test_tokens import config as token_config
from .test_tokens import token_of

NODE = node.executable()
CHROMIUM = chromium.executable()
FIREFOX = firefox.executable()
ENGINES = ("deno", "bun")

pytestmark = [
    pytest.mark.ordeal,
    pytest.mark.timeout(240),
    pytest.mark.skipif(NODE is None, reason="needs node"),
]
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
needs_firefox = pytest.mark.skipif(FIREFOX is None, reason="needs Firefox")

# So that the relay soon knows that a client is gone, and a receipt is soon confirmed.
QUICK: Final = """
[keepalive]
ping_interval_s = 1
pong_timeout_s = 2
receipt_ping_s = 0.2
[server]
allowed_origins = ["*"]
"""
# So that a client soon knows that its connection is gone.
SOON: Final = {"keepaliveS": 1, "answerS": 1, "reconnectMaxS": 2, "confirmS": 1.5}
COUNT: Final = 50
FROZEN_S: Final = 40
LID_S: Final = 60

Opener = Callable[[str], Program]


class Author:
    """A raw client, and the messages of which it has heard that someone has them."""

    def __init__(self, client: SheetClient) -> None:
        self._client = client
        self._acked: list[str] = ids_of(client.queued)

    @property
    def acked(self) -> list[str]:
        for frame in self._client.recv_available():
            if frame[0] == "Msg" and frame[1]["ack"] >= 2:
                self._acked.append(frame[1]["id"])
        return self._acked


class Pages:
    """Tabs of one browser, at one site."""

    def __init__(self, first: chromium.Page, origin: str) -> None:
        self.origin = origin
        self._first = first
        self._has_opened = False

    def open(self) -> Program:
        """Return a new tab; it is looked at, and the others are hidden by it."""
        page = self._first.another() if self._has_opened else self._first
        self._has_opened = True
        return self.load(page)

    def load(self, page: chromium.Page) -> Program:
        page.go(f"{self.origin}/")
        return in_page(page)


@pytest.fixture
def pages() -> Iterator[Pages]:
    assert CHROMIUM is not None
    with site() as origin, chromium.open_page(CHROMIUM) as page:
        yield Pages(page, origin)


@pytest.fixture
def open_program(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """A function that opens a program in "node" or another engine, in a "page" or in "firefox"."""
    with ExitStack() as stack:

        def open_in(kind: str) -> Program:
            if kind == "page":
                pages: Pages = request.getfixturevalue("pages")
                return pages.open()
            if kind == "firefox":
                assert FIREFOX is not None
                page = stack.enter_context(firefox.open_page(FIREFOX))
                page.go(f"{stack.enter_context(site())}/")
                return in_page(page)
            program = node.executable(kind)
            assert program is not None
            return in_node(stack.enter_context(node.open_node(program, kind)))

        yield open_in


KINDS: Final = [
    "node",
    pytest.param("page", marks=needs_chromium),
    pytest.param("firefox", marks=needs_firefox),
]
EVERYWHERE = pytest.mark.parametrize("kind", KINDS)
ON_ENGINES: Final = [
    pytest.param(name, marks=pytest.mark.skipif(not node.executable(name), reason=f"needs {name}"))
    for name in ENGINES
]


def numbered(name: str, count: int = COUNT) -> list[str]:
    return [f"{name}{number}" for number in range(1, count + 1)]


def expect_all(*pairs: tuple[Program, Program, str], count: int = COUNT) -> None:
    """Each author's messages have come once and in order, and their ticks are right."""
    for author, reader, name in pairs:
        poll_for(
            f"all of {name}",
            lambda reader=reader: len(reader.got) >= count,  # type: ignore[misc]
            deadline_s=90,
        )
        try:
            author.wait_for("the ticks", f"count('read') === {count}", deadline_s=90)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{name}: {author.story()}\n{reader.story()}") from None
        assert reader.got == numbered(name, count)
        assert author.run("count('sent')") == count
        assert author.run("count('delivered')") == count
        assert author.run("client.waiting.length") == 0
        assert author.events("failed") == author.events("trouble") == []


@pytest.mark.parametrize("kind", [*KINDS, *ON_ENGINES])
def test_two_chat_alone_and_in_a_group(
    start_relay: RelayStarter, open_program: Opener, kind: str
) -> None:
    relay = start_relay(config=QUICK)
    alice, bob = open_program(kind), open_program("node")
    bob.start(relay.url, BOB, reads=True)
    alice.start(relay.url, ALICE)
    alice.say(BOB, "one")
    alice.say(GROUP, "two")

    bob.wait_for("both", "got.length === 2")
    alice.wait_for("the ticks", "count('read') === 2")

    assert bob.got == ["one", "two"]
    assert alice.events("failed") == bob.events("trouble") == []


@EVERYWHERE
def test_whatever_happens_to_the_connection_each_message_comes_once_in_order(
    start_relay: RelayStarter, open_program: Opener, kind: str
) -> None:
    relay = start_relay(config=QUICK, fronts=2)
    with Network(relay.port) as network:
        alice, bob = open_program(kind), open_program("node")
        alice.start(f"ws://127.0.0.1:{network.port}/", ALICE, reads=True, limits=SOON, tabs=False)
        bob.start(relay.url, BOB, reads=True, limits=SOON)
        for each in (alice, bob):
            each.wait_online()
        alice.chatter(BOB, "a", times=COUNT, gap_ms=200)
        bob.chatter(ALICE, "b", times=COUNT, gap_ms=200)

        bob.wait_for("some messages", "got.length >= 3")
        network.cut()
        alice.wait_for("it notices", "!client.online")
        network.mend()
        alice.wait_online()
        for front in relay.children("front"):
            front.process.kill()
        third = "events.filter((e) => e.type === 'connected').length >= 3"
        alice.wait_for("its third login", third)
        network.fall_silent()
        alice.wait_for("it notices", "!client.online")
        network.mend()
        alice.wait_online()
        relay.children("worker")[0].process.kill()

        expect_all((alice, bob, "a"), (bob, alice, "b"))
        assert network.connections >= 4


@pytest.mark.parametrize("kind", [*KINDS, *ON_ENGINES])
def test_a_relay_that_is_not_there_is_tried_again_soon(
    start_relay: RelayStarter, open_program: Opener, kind: str
) -> None:
    """Node 20 tells of no close where no connection was had, only of an error."""
    relay = start_relay(config=QUICK)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    alice = open_program(kind)
    alice.start(f"ws://127.0.0.1:{port}/", ALICE, limits={"reconnectMaxS": 1})

    tries = "events.filter((each) => each.type === 'disconnected').length"
    alice.wait_for("some tries", f"{tries} >= 3", deadline_s=10)

    with Network(relay.port, at=port):
        alice.wait_for("the login", "client.online", deadline_s=10)


@EVERYWHERE
def test_a_relay_that_is_renewed_costs_no_message(
    start_relay: RelayStarter, open_program: Opener, kind: str
) -> None:
    relay = start_relay(config=QUICK, fronts=2)
    alice, bob = open_program(kind), open_program("node")
    alice.start(relay.url, ALICE, reads=True, limits=SOON)
    bob.start(relay.url, BOB, reads=True, limits=SOON)
    for each in (alice, bob):
        each.wait_online()
    before = {child.process.pid for child in relay.children()}
    alice.chatter(BOB, "a", times=COUNT, gap_ms=100)
    bob.chatter(ALICE, "b", times=COUNT, gap_ms=100)

    relay.process.send_signal(signal.SIGUSR2)

    poll_for(
        "all are new",
        lambda: not before & {child.process.pid for child in relay.children()},
        deadline_s=60,
    )
    expect_all((alice, bob, "a"), (bob, alice, "b"))


@EVERYWHERE
def test_a_token_is_renewed_before_its_end(
    start_relay: RelayStarter, open_program: Opener, kind: str, tmp_path: Path
) -> None:
    relay = start_relay(config=token_config(tmp_path) + QUICK)
    alice = open_program(kind)
    tokens = [token_of(ALICE, left_s=3), token_of(ALICE, left_s=600)]
    alice.start(relay.url, ALICE, tokens=tokens)
    alice.wait_online()

    alice.wait_for("it asks for another", "events.filter((e) => e.type === 'asked').length === 2")
    time.sleep(3)  # the first is over now

    alice.say(ALICE, "still here")
    alice.wait_for("it is heard", "got.length === 1")
    assert alice.events("asked") == [
        {"type": "asked", "renew": False},
        {"type": "asked", "renew": True},
    ]
    assert alice.events("disconnected") == alice.events("trouble") == []


@EVERYWHERE
def test_tokens_that_end_cost_no_message(
    start_relay: RelayStarter, open_program: Opener, kind: str, tmp_path: Path
) -> None:
    relay = start_relay(config=token_config(tmp_path) + QUICK)
    alice, bob = open_program(kind), open_program("node")
    # The second time she is given the first again: that session ends with its token.
    first = token_of(ALICE, left_s=4)
    tokens = [first, first, token_of(ALICE, left_s=9), token_of(ALICE, left_s=600)]
    alice.start(relay.url, ALICE, reads=True, tokens=tokens, limits=SOON)
    bob.start(relay.url, BOB, reads=True, tokens=[token_of(BOB)], limits=SOON)
    for each in (alice, bob):
        each.wait_online()

    alice.chatter(BOB, "a", times=COUNT, gap_ms=200)
    bob.chatter(ALICE, "b", times=COUNT, gap_ms=200)

    expect_all((alice, bob, "a"), (bob, alice, "b"))
    assert [each["code"] for each in alice.events("disconnected")] == [4401]
    assert [each["renew"] for each in alice.events("asked")] == [False, True, True, True]
    assert alice.events("end") == []


def test_who_slept_through_the_end_of_a_token_comes_back_with_another(
    start_relay: RelayStarter, open_program: Opener, tmp_path: Path
) -> None:
    relay = start_relay(config=token_config(tmp_path) + QUICK)
    alice = open_program("node")
    # The second is over as well: so is a token of a cache.
    tokens = [token_of(ALICE, left_s=1.1), token_of(ALICE, left_s=1), token_of(ALICE, left_s=600)]
    alice.run("Date.now = (real => () => real() - 3600e3)(Date.now); undefined")  # a wrong clock
    alice.start(relay.url, ALICE, tokens=tokens[::2], limits={"reconnectMaxS": 1})
    alice.wait_online()

    alice.wait_for("it is back", "tokens.length === 1 && client.online")

    assert alice.events("end") == []


@EVERYWHERE
def test_who_is_replaced_stays_away(
    start_relay: RelayStarter, open_program: Opener, kind: str
) -> None:
    relay = start_relay(config=QUICK)
    alice = open_program(kind)
    alice.start(relay.url, ALICE)
    alice.wait_online()

    relay.login(ALICE)

    alice.wait_for("it hears", "events.some((each) => each.type === 'end')")
    assert alice.events("end") == [{"type": "end", "name": "Replaced"}]
    assert alice.run("client.error.code") == 4409
    time.sleep(1)
    assert len(alice.events("connected")) == 1


@needs_chromium
def test_what_was_typed_before_the_page_was_gone_is_sent_by_the_next_one(
    start_relay: RelayStarter, pages: Pages
) -> None:
    relay = start_relay(config=QUICK)
    with Network(relay.port) as network:
        network.cut()
        url = f"ws://127.0.0.1:{network.port}/"
        alice = pages.open()
        alice.start(url, ALICE, outbox=True)
        alice.say(BOB, *numbered("a", 5))
        wait_until_kept(alice, 5)
        page = alice.place
        assert isinstance(page, chromium.Page)
        alice = pages.load(page)
        network.mend()

        # What is typed at once must not pass what was left.
        alice.run(f"start('{url}', '{ALICE}', {{outbox: true}}); say('{BOB}', 'a6'); undefined")

        alice.wait_for("all is stored", "client.waiting.length === 0")
        alice.wait_for("all is stored", "events.filter((e) => e.type === 'sent').length === 6")
    again = pages.load(page)
    again.start(relay.url, ALICE, outbox=True)
    again.say(BOB, "a7")
    again.wait_for("the last is stored", "count('sent') === 1")
    assert texts_of(relay.login(BOB).queued) == numbered("a", 7)


@needs_chromium
def test_a_page_that_is_loaded_anew_shows_nothing_twice_and_loses_nothing(
    start_relay: RelayStarter, pages: Pages, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    bob = open_program("node")
    bob.start(relay.url, BOB)
    alice = pages.open()
    page = alice.place
    assert isinstance(page, chromium.Page)
    bob.chatter(ALICE, "b", times=COUNT, gap_ms=50)
    got: list[str] = []

    for _ in range(4):
        alice.start(relay.url, ALICE, reads=True, outbox=True)
        alice.wait_for("some", "got.length >= 5")
        # As the page is at its end: what it has shown.
        got += alice.run("(client.close(), got)")
        alice = pages.load(page)
    alice.start(relay.url, ALICE, reads=True, outbox=True)

    poll_for("all have come", lambda: len(got) + len(alice.got) >= COUNT)
    assert got + alice.got == numbered("b")
    bob.wait_for("the ticks", f"count('read') === {COUNT}")


@needs_chromium
def test_tabs_share_one_connection_and_the_next_takes_over(
    start_relay: RelayStarter, pages: Pages, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    with Network(relay.port) as network:
        url = f"ws://127.0.0.1:{network.port}/"
        bob = open_program("node")
        bob.start(relay.url, BOB, reads=True)
        first, second = pages.open(), pages.open()
        first.start(url, ALICE, reads=True)
        first.wait_online()
        second.start(url, ALICE, reads=True)
        second.wait_online()
        bob.say(ALICE, "b1")
        second.say(BOB, "a1")
        for each in (first, second):
            each.wait_for("it hears", "got.length === 1")
        bob.wait_for("the other tab's", "got.length === 1")
        second.wait_for("its ticks", "count('read') === 1")
        assert network.connections == 1
        bob.wait_for("the ticks", "count('read') === 1")

        second.chatter(BOB, "c", times=20, gap_ms=50)
        bob.chatter(ALICE, "d", times=20, gap_ms=50)
        second.wait_for("some of them", "got.length >= 4")
        page = first.place
        assert isinstance(page, chromium.Page)
        page.close()

        bob.wait_for("all", "got.length >= 21")
        second.wait_for("all", "got.length >= 21")
        assert bob.got == ["a1", *numbered("c", 20)]
        assert second.got == ["b1", *numbered("d", 20)]
        second.wait_for("its ticks", "count('read') === 21")
        assert network.connections == 2
        assert second.events("end") == bob.events("failed") == []


@needs_chromium
def test_a_tab_takes_over_from_one_that_is_frozen(start_relay: RelayStarter, pages: Pages) -> None:
    relay = start_relay(config=QUICK)
    first, second = pages.open(), pages.open()
    first.start(relay.url, ALICE)
    first.wait_online()
    second.start(relay.url, ALICE)
    second.wait_online()
    page = first.place
    assert isinstance(page, chromium.Page)
    page.freeze()

    second.say(ALICE, "to myself")

    second.wait_for("it has come", "got.length === 1")
    page.thaw()
    first.wait_for("the other has it", "client.online")
    second.say(ALICE, "again")
    for each in (first, second):
        each.wait_for("it has come", "got.at(-1) === 'again'")
        assert each.events("end") == []


@needs_chromium
def test_what_is_read_in_one_tab_is_told_though_the_one_with_the_connection_is_gone(
    start_relay: RelayStarter, pages: Pages, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    with Network(relay.port) as network:
        url = f"ws://127.0.0.1:{network.port}/"
        bob, first, second = open_program("node"), pages.open(), pages.open()
        bob.start(relay.url, BOB)
        for each in (first, second):
            each.start(url, ALICE)
            each.wait_online()
        second.run("client.on('message', (each) => (globalThis.last = each)); undefined")
        bob.say(ALICE, "hi")
        bob.wait_for("it is delivered", "count('delivered') === 1")
        second.wait_for("it has come", "globalThis.last !== undefined")
        network.fall_silent()

        second.run("client.markRead(last); undefined")
        time.sleep(0.5)  # until the other tab has written it to where nothing goes on
        page = first.place
        assert isinstance(page, chromium.Page)
        page.close()
        network.cut()
        network.mend()

        bob.wait_for("it is read", "count('read') === 1")


# What a logout of a page does, or a user who has his browser forget its site.
DELETION: Final = """
globalThis.deleted = "";
indexedDB.databases().then(([{ name }]) => {
  const deleting = indexedDB.deleteDatabase(name);
  deleting.onblocked = () => (deleted = "blocked");
  deleting.onsuccess = () => (deleted = "gone");
});
undefined
"""


@needs_chromium
def test_a_database_that_is_deleted_under_it_costs_no_message(
    start_relay: RelayStarter, pages: Pages
) -> None:
    relay = start_relay(config=QUICK)
    bob = relay.login(BOB)
    alice = pages.open()
    alice.start(relay.url, ALICE, outbox=True)
    alice.wait_online()

    alice.run(DELETION)

    alice.wait_for("it makes way", "deleted === 'gone'")
    alice.say(BOB, "after it")
    bob.send_message(ALICE, "M")
    assert bob.recv_many(3)  # ack 1, the message, an ack 2
    alice.wait_for("it is stored", "client.waiting.length === 0 && got.length === 1")
    assert alice.events("trouble") == []


@needs_chromium
def test_a_database_that_does_not_open_keeps_nobody_from_chatting(
    start_relay: RelayStarter, pages: Pages
) -> None:
    relay = start_relay(config=QUICK)
    other, alice = pages.open(), pages.open()
    name = f"relay {relay.url} {ALICE}"
    other.run(f"globalThis.opening = indexedDB.open({name!r}, 1); undefined")
    other.wait_for("it holds it", "opening.readyState === 'done'")
    other.run(DELETION)
    other.wait_for("it waits", "deleted === 'blocked'")

    alice.start(relay.url, ALICE, outbox=True)
    alice.say(BOB, "all the same")

    alice.wait_for("it is stored", "events.some((each) => each.type === 'sent')")
    assert [each[2][0]["message"] for each in relay.login(BOB).queued] == [
        {"conversation": "all the same"}
    ]
    assert alice.events("trouble")


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("frozen", marks=needs_chromium),
        pytest.param("lid", marks=needs_chromium),
        "node",
    ],
)
def test_who_stood_still_loses_nothing(
    start_relay: RelayStarter, open_program: Opener, how: str
) -> None:
    """A tab that was frozen, a browser on a machine whose lid was closed, a process of Node."""
    relay = start_relay(config=QUICK)
    bob, alice = open_program("node"), open_program("node" if how == "node" else "page")
    bob.start(relay.url, BOB, reads=True)
    alice.start(relay.url, ALICE, reads=True, limits=SOON, tabs=False)
    alice.wait_online()
    alice.chatter(BOB, "a", times=COUNT, gap_ms=50)
    bob.chatter(ALICE, "b", times=COUNT, gap_ms=200)
    bob.wait_for("some messages", "got.length >= 5")

    place = alice.place
    if how in ("lid", "node"):
        with standing_still(place.pid):
            time.sleep(LID_S)
    else:
        assert isinstance(place, chromium.Page)
        place.freeze()
        time.sleep(FROZEN_S)
        place.thaw()
        place.look_at()  # or its timers go once a second

    expect_all((alice, bob, "a"), (bob, alice, "b"))
    assert len(alice.events("connected")) >= 2


@needs_chromium
def test_a_tab_that_is_opened_and_closed_costs_no_message(
    start_relay: RelayStarter, pages: Pages, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    with Network(relay.port) as network:
        url = f"ws://127.0.0.1:{network.port}/"
        bob, first = open_program("node"), pages.open()
        bob.start(relay.url, BOB, reads=True)
        first.start(url, ALICE, reads=True)
        first.wait_online()
        first.chatter(BOB, "a", times=COUNT, gap_ms=100)
        bob.chatter(ALICE, "b", times=COUNT, gap_ms=100)
        bob.wait_for("some messages", "got.length >= 5")

        second = pages.open()
        second.start(url, ALICE, reads=True)
        second.wait_for("it hears", "got.length >= 5")
        assert isinstance(second.place, chromium.Page)
        second.place.close()
        assert isinstance(first.place, chromium.Page)
        first.place.look_at()

        expect_all((first, bob, "a"), (bob, first, "b"))
        assert network.connections == 1
        assert first.events("end") == first.events("disconnected") == []


def test_a_message_whose_handler_fails_comes_again_at_the_next_login(
    start_relay: RelayStarter, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    alice, bob = open_program("node"), relay.login(BOB)
    alice.run("globalThis.fails = true")
    alice.start(relay.url, ALICE, limits=SOON)
    alice.run(
        "client.on('message', ({ text }) => { if (fails && text === 'one') throw Error('no'); }); 0"
    )
    alice.wait_online()
    for number, text in enumerate(("one", "two")):
        bob.send_message(ALICE, f"M{number}", {"conversation": text})

    heard = Author(bob)
    poll_for("the ack of the second", lambda: "M1" in heard.acked)
    assert alice.got == ["one", "two"]
    assert [each["type"] for each in alice.events("trouble")] == ["trouble"]
    alice.run("fails = false")
    for front in relay.children("front"):
        front.process.kill()

    alice.wait_for("it comes again", "got.length === 3")
    assert alice.got == ["one", "two", "one"]
    heard = Author(relay.login(BOB))
    poll_for("the ack of the first", lambda: "M0" in heard.acked)


def test_a_loop_that_is_left_has_not_taken_its_last_message(
    start_relay: RelayStarter, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    alice, bob = open_program("node"), relay.login(BOB)
    for number in range(3):
        bob.send_message(ALICE, f"M{number}", {"conversation": str(number)})
    bob.recv_many(3)
    loop = """
        (async () => {
          const texts = [];
          for await (const { text } of client.messages()) {
            texts.push(text);
            if (texts.length === 2) break;
          }
          return texts;
        })()
    """
    alice.run(f"globalThis.client = new RelayClient({relay.url!r}, '{ALICE}').connect(); undefined")

    assert alice.run(loop) == ["0", "1"]
    assert alice.run(loop) == ["1", "2"]

    heard = Author(bob)
    poll_for("two are acked", lambda: heard.acked == ["M0", "M1"])
    alice.run("client.close()")
    assert ids_of(relay.login(ALICE).queued) == ["M2"]


def test_nothing_is_acked_by_itself_where_that_is_done_by_hand(
    start_relay: RelayStarter, open_program: Opener
) -> None:
    relay = start_relay(config=QUICK)
    alice, bob = open_program("node"), relay.login(BOB)
    alice.start(relay.url, ALICE, ack="manual")
    alice.run("globalThis.last = []; client.on('message', (each) => last.push(each)); undefined")
    alice.wait_online()
    for number in range(2):
        bob.send_message(ALICE, f"M{number}", {"conversation": str(number)})
    alice.wait_for("both", "last.length === 2")

    alice.run("client.markDelivered(last[1]); undefined")

    heard = Author(bob)
    poll_for("one is acked", lambda: heard.acked == ["M1"])
    alice.run("client.close()")
    assert ids_of(relay.login(ALICE).queued) == ["M0"]


@needs_chromium
def test_tabs_do_not_come_back_one_after_the_other_once_they_are_replaced(
    start_relay: RelayStarter, pages: Pages
) -> None:
    relay = start_relay(config=QUICK)
    with Network(relay.port) as network:
        tabs = [pages.open() for _ in range(3)]
        for tab in tabs:
            tab.start(f"ws://127.0.0.1:{network.port}/", ALICE)
            tab.wait_online()

        alice = relay.login(ALICE)

        for tab in tabs:
            tab.wait_for("it hears", "events.some((each) => each.type === 'end')")
            assert tab.events("end") == [{"type": "end", "name": "Replaced"}]
        time.sleep(1)
        assert network.connections == 1
        alice.expect_nothing()


@needs_chromium
def test_what_two_tabs_have_typed_is_sent_once_by_a_later_one(
    start_relay: RelayStarter, pages: Pages
) -> None:
    relay = start_relay(config=QUICK)
    with Network(relay.port) as network:
        network.cut()
        url = f"ws://127.0.0.1:{network.port}/"
        tabs = [pages.open() for _ in range(2)]
        for tab in tabs:
            tab.start(url, ALICE, outbox=True)
        for number in range(6):
            tabs[number % 2].say(BOB, f"a{number}")
            wait_until_kept(tabs[number % 2], number + 1)
        last = pages.open()
        for tab in tabs:
            assert isinstance(tab.place, chromium.Page)
            tab.place.close()
        network.mend()

        last.start(url, ALICE, outbox=True)

        last.wait_for("all is stored", "events.filter((e) => e.type === 'sent').length === 6")
        assert texts_of(relay.login(BOB).queued) == [f"a{number}" for number in range(6)]


# How many messages the browser keeps for this user, looked up again and again.
KEPT: Final = """
globalThis.kept ??= (function look() {
  indexedDB.open(`relay ${client.url} ${client.user}`, 1).onsuccess = ({ target: { result } }) => {
    result.transaction("sends").objectStore("sends").count().onsuccess = ({ target }) => {
      kept = target.result;
      result.close();
      setTimeout(look, 20);
    };
  };
  return 0;
})();
undefined
"""


def wait_until_kept(page: Program, count: int) -> None:
    """Wait until so many messages without ack 1 are on the browser's disk."""
    page.run(KEPT)
    page.wait_for("they are kept", f"kept === {count}")


def texts_of(frames: list[Frame]) -> list[str]:
    return [frame[2][0]["message"]["conversation"] for frame in frames]


def ids_of(frames: list[Frame]) -> list[str]:
    return [message_id_of(frame) for frame in frames]
