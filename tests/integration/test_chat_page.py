"""The chat page in a real Chromium: served by the admin, and as files by any web server."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import pytest

from tests.documents import ROOT
from tests.outside import chromium
from tests.outside.chromium import Page
from tests.outside.client import SheetClient
from tests.outside.network import Network
from tests.outside.operator import Operator
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_tokens import config as token_config
from .test_tokens import token_of

PROGRAM = chromium.executable()
in_a_browser = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")
pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(120)]

CHAT: Final = ROOT / "relay" / "web" / "chat"
MOST_LINES: Final = 400
# Where pictures of the page are left, to be looked at; nowhere as a rule.
PICTURES: Final = os.environ.get("CHAT_PICTURES")
ADMIN: Final = "[admin]\nport = 0\n"
ANYWHERE: Final = '[server]\nallowed_origins = ["*"]\n[keepalive]\nreceipt_ping_s = 0.2\n'
PEOPLE: Final = map(str, itertools.count(917_000_000_001))
GROUPS: Final = {f"9170000-{n}@g.us": [f"{n}11", f"{n}12", f"{n}13"] for n in range(4)}


class Stage(NamedTuple):
    """A relay whose admin serves the page; what the page says to it goes over a network."""

    relay: Relay
    network: Network
    origin: str


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Network() as network:
        chat = f'chat_url = "ws://127.0.0.1:{network.port}/"\n'
        with Relay(admin=True, config=ADMIN + chat + ANYWHERE, groups=GROUPS) as relay:
            network.leads_to(relay.port)
            yield Stage(relay, network, origin_of(relay))


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert PROGRAM is not None
    with chromium.open_page(PROGRAM) as page:
        yield page


def origin_of(relay: Relay) -> str:
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    Operator(relay).ask("/api/v1/status")  # it loads what answers
    return f"http://127.0.0.1:{relay.log.events('admin.port_served')[0]['port']}"


class Chat:
    """Somebody at a tab with the page."""

    def __init__(self, browser: Page, url: str, user: str = "") -> None:
        self.page = browser.another()
        self.user = user or next(PEOPLE)
        self.page.go(url)

    def log_in(self, token: str = "", *, stays: bool = False) -> Chat:
        self.wait("the form", "!document.getElementById('login').hidden")
        self.fill("me", self.user)
        self.fill("token", token)
        self.page.run(f"document.getElementById('stay').checked = {json.dumps(stays)}")
        self.submit("login")
        return self

    def online(self) -> Chat:
        self.wait("the login", "document.getElementById('state')?.textContent === 'online'")
        return self

    def load_anew(self) -> None:
        self.page.run("window.isOld = true; location.reload()")
        inside = "document.getElementById('app')?.hidden === false"
        self.wait("the page", f"!window.isOld && {inside}")

    def open(self, chat: str, name: str = "") -> Chat:
        self.fill("address", chat)
        self.fill("name", name)
        self.submit("add")
        return self

    def say(self, *texts: str) -> None:
        for text in texts:
            self.page.run("document.getElementById('text').focus()")
            self.page.type(text)
            self.page.press("Enter")

    def fill(self, field: str, text: str) -> None:
        self.page.run(f"document.getElementById({field!r}).value = {json.dumps(text)}; 0")

    def submit(self, form: str) -> None:
        self.page.run(f"document.getElementById({form!r}).requestSubmit()")

    def text_of(self, element: str) -> str:
        text: str = self.page.run(f"document.getElementById({element!r}).innerText")
        return text

    @property
    def texts(self) -> list[str]:
        return self._all("#log .text")

    @property
    def ticks(self) -> list[str]:
        return self._all("#log .mine .meta .hidden")

    @property
    def chats(self) -> list[str]:
        return self._all("#chats button")

    @property
    def banner(self) -> str:
        return self.text_of("said")

    def _all(self, selector: str) -> list[str]:
        found: list[str] = self.page.run(
            f"[...document.querySelectorAll({selector!r})].map((each) => each.textContent)"
        )
        return found

    def wait(self, what: str, condition: str) -> None:
        poll_for(f"{what}: {condition}", lambda: bool(self.page.run(condition)), deadline_s=30)

    def shows(self, *texts: str) -> None:
        poll_for(f"{texts} in {self.user}'s", lambda: self.texts == list(texts), deadline_s=30)

    def picture(self, name: str) -> None:
        if PICTURES:
            (Path(PICTURES) / f"{name}.png").write_bytes(self.page.picture())


class Peer:
    """The other side, which knows the sheet alone."""

    def __init__(self, relay: Relay, user: str) -> None:
        self.user = user
        self.client: SheetClient = relay.login(user)
        self._sent = itertools.count()
        self._receipts: list[int] = []

    def say(self, chat: str, *texts: str) -> None:
        for text in texts:
            self.client.send_message(
                chat, f"{self.user}-{next(self._sent)}", {"conversation": text}
            )

    def hear(self, *, level: int | None = 2) -> str:
        """Return the next message's text; it is acked."""
        while True:
            frame = self.client.recv()
            if frame[0] == "action":
                if level:
                    self.client.ack(frame, level)
                return str(frame[2][0]["message"]["conversation"])

    def receipts(self, level: int) -> int:
        """How many receipts of that level have come so far."""
        frames = self.client.recv_available()
        self._receipts += [f[1]["ack"] for f in frames if f[0] in ("Msg", "MsgInfo")]
        return self._receipts.count(level)


@pytest.fixture
def alice(stage: Stage, browser: Page) -> Chat:
    return Chat(browser, f"{stage.origin}/chat/").log_in().online()


@pytest.fixture
def bob(stage: Stage) -> Peer:
    return Peer(stage.relay, next(PEOPLE))


# --- the page ---


@in_a_browser
def test_two_chat_and_see_what_became_of_what_they_said(alice: Chat, bob: Peer) -> None:
    alice.open(bob.user, "Bob")
    alice.say("one")
    poll_for("ack 1", lambda: alice.ticks == ["sent"])

    assert bob.hear() == "one"
    poll_for("the tick", lambda: alice.ticks == ["delivered"])
    alice.say("two")
    assert bob.hear(level=3) == "two"
    poll_for("the ticks", lambda: alice.ticks == ["delivered", "read"])
    bob.say(alice.user, "three")
    alice.shows("one", "two", "three")
    poll_for("that it was read", lambda: bob.receipts(3) == 1)
    assert alice.text_of("title") == "Bob"
    assert alice.banner == ""


@in_a_browser
def test_what_is_not_looked_at_is_counted_and_not_read(alice: Chat, bob: Peer) -> None:
    bob.say(alice.user, "one", "two")

    poll_for("the count", lambda: [f"{bob.user}2 unreadtwo"] == alice.chats)
    poll_for("the title", lambda: alice.page.run("document.title") == "(2) Chat")
    poll_for("the acks", lambda: bob.receipts(2) == 2)
    assert bob.receipts(3) == 0
    alice.open(bob.user)
    poll_for("the reading", lambda: bob.receipts(3) == 2)
    poll_for("no count", lambda: alice.page.run("document.title") == "Chat")


@in_a_browser
def test_a_group_shows_who_speaks_and_how_many_have_it(stage: Stage, browser: Page) -> None:
    [group, (me, *others)] = next(iter(GROUPS.items()))
    members = [Peer(stage.relay, each) for each in others]
    alice = Chat(browser, f"{stage.origin}/chat/", me).log_in().online()
    alice.open(others[0], "Bob").open(group, "Family")
    alice.say("all of you")
    for level, member in zip((2, 3), members, strict=True):
        assert member.hear(level=level) == "all of you"
    poll_for("the ticks", lambda: alice.ticks == ["delivered to 2, read by 1"])

    members[0].say(group, "yes")

    alice.shows("all of you", "yes")
    assert alice._all("#log .sender") == ["Bob"]
    assert alice.text_of("title") == "Family"


@in_a_browser
def test_without_a_network_it_says_so_and_sends_later_what_was_typed(
    stage: Stage, alice: Chat, bob: Peer
) -> None:
    alice.open(bob.user)
    alice.say("before")
    assert bob.hear() == "before"
    poll_for("the tick", lambda: alice.ticks == ["delivered"])
    stage.network.cut()
    try:
        alice.wait("the banner", "document.getElementById('said').innerText !== ''")
        alice.say("one", "two")
        poll_for("they wait", lambda: alice.ticks == ["delivered", "waiting", "waiting"])
        poll_for("it says so", lambda: "Waiting to be sent: 2." in alice.banner)
        alice.picture("offline")
        alice.load_anew()
        alice.open(bob.user)
        alice.say("three")
        alice.shows("before", "one", "two", "three")
    finally:
        stage.network.mend()

    assert [bob.hear() for _ in range(3)] == ["one", "two", "three"]
    poll_for("the ticks", lambda: alice.ticks == ["delivered"] * 4)
    poll_for("no banner", lambda: alice.banner == "")
    bob.client.expect_nothing()


@in_a_browser
def test_a_page_that_is_loaded_anew_shows_what_was_there(alice: Chat, bob: Peer) -> None:
    alice.open(bob.user, "Bob")
    alice.say("one")
    assert bob.hear(level=3) == "one"
    bob.say(alice.user, "two")
    alice.shows("one", "two")
    poll_for("the tick", lambda: alice.ticks == ["read"])

    alice.load_anew()
    alice.wait("the chat", "document.querySelector('#chats button') !== null")
    alice.online()
    alice.page.run("document.querySelector('#chats button').click()")

    alice.shows("one", "two")
    assert alice.ticks == ["read"]
    assert alice.text_of("title") == "Bob"


@in_a_browser
def test_two_tabs_show_the_same_over_one_connection(
    stage: Stage, browser: Page, alice: Chat, bob: Peer
) -> None:
    before = stage.network.connections
    second = Chat(browser, f"{stage.origin}/chat/", alice.user).log_in().online()
    alice.open(bob.user)
    second.open(bob.user)

    alice.say("one")
    assert bob.hear() == "one"
    second.say("two")
    assert bob.hear() == "two"
    bob.say(alice.user, "three")

    for each in (alice, second):
        each.shows("one", "two", "three")
        poll_for("the ticks", lambda each=each: each.ticks == ["delivered"] * 2)  # type: ignore[misc]
    assert stage.network.connections == before
    alice.page.close()
    second.online()
    second.say("four")
    assert bob.hear() == "four"


@in_a_browser
def test_who_logs_in_elsewhere_is_told_and_may_come_back(stage: Stage, alice: Chat) -> None:
    elsewhere = stage.relay.login(alice.user)

    poll_for("it says so", lambda: alice.banner == "You are logged in elsewhere.")
    assert alice.text_of("again") == "Connect here"
    alice.page.run("document.getElementById('again').click()")
    alice.online()
    elsewhere.drop()


@in_a_browser
def test_no_text_is_taken_for_html(alice: Chat, bob: Peer) -> None:
    text = "<img src=x onerror=\"document.title='taken'\"><b>bold</b>\n  ‮kcab"
    bob.say(alice.user, text)
    alice.open(bob.user, "<i>Bob</i>")

    alice.shows(text)
    assert alice.text_of("title") == "<i>Bob</i>"
    assert alice.page.run("document.querySelectorAll('#app img, #app b, #app i').length") == 0
    with pytest.raises(AssertionError, match="TypeError: Failed to set"):
        alice.page.run("document.getElementById('title').innerHTML = '<b>x</b>'")


@in_a_browser
def test_what_no_relay_would_take_is_told(alice: Chat) -> None:
    alice.open("no such name")
    assert "no such name" in alice.text_of("unknown")
    alice.open("nobody-1@g.us")
    alice.say("hello")

    poll_for("why not", lambda: "not sent:" in "".join(alice._all("#log .bad")))
    assert alice._all("#log .meta button") == ["Send again"]


@in_a_browser
def test_it_is_used_by_the_keyboard_alone(stage: Stage, browser: Page, bob: Peer) -> None:
    alice = Chat(browser, f"{stage.origin}/chat/")
    alice.page.run("document.getElementById('me').focus()")
    alice.page.type(alice.user)
    for _ in range(3):  # the token, to stay, the button
        alice.page.press("Tab")
    assert alice.page.run("document.activeElement.textContent") == "Log in"
    alice.page.press("Enter")
    alice.online()
    alice.page.run("document.getElementById('address').focus()")
    alice.page.type(bob.user)
    alice.page.press("Enter")
    alice.page.type("hello")
    alice.page.press("Enter")
    assert bob.hear() == "hello"

    alice.page.press("Escape")

    assert alice.page.run("document.querySelector('main').hidden") is True
    assert alice.page.run("document.activeElement.textContent").startswith(bob.user)
    alice.page.press("Enter")
    poll_for("it is open", lambda: alice.page.run("document.activeElement.id") == "text")
    alice.page.press("Tab")
    assert alice.page.run("document.activeElement.textContent") == "Send"


@in_a_browser
def test_everything_that_is_used_has_a_name(alice: Chat, bob: Peer) -> None:
    bob.say(alice.user, "hello")
    alice.open(bob.user)
    alice.shows("hello")

    nameless = alice.page.run(
        "[...document.querySelectorAll('button, input, textarea, nav, main, [tabindex=\"0\"]')]"
        ".filter((each) => !each.closest('[hidden]') && !each.textContent.trim()"
        " && !each.labels?.length && !each.getAttribute('aria-label'))"
        ".map((each) => each.outerHTML)"
    )
    assert nameless == []
    assert alice.page.run("document.getElementById('log').role") == "log"
    assert alice.page.run("document.getElementById('banner').role") == "status"


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_can_be_read_in_either_light_and_needs_no_scrolling_sideways(
    alice: Chat, bob: Peer, width: int, scheme: str
) -> None:
    alice.page.prefer(scheme)
    alice.page.resize(width, 800)
    alice.picture(f"{scheme}-{width}-empty")
    alice.open(f"{bob.user}9", "Dora with a name that is much longer than the list is wide")
    alice.open(bob.user, "Bob")
    bob.say(alice.user, "Are you there?", "I have " + "much " * 40 + "to say", "x" * 300)
    poll_for("all", lambda: len(alice.texts) == 3)
    alice.say("I am", "and you?")
    assert (bob.hear(level=3), bob.hear()) == ("I am", "and you?")
    poll_for("the ticks", lambda: alice.ticks == ["read", "delivered"])
    alice.picture(f"{scheme}-{width}-chat")

    assert alice.page.run("document.documentElement.scrollWidth") <= width
    assert alice.page.run(_WORST_CONTRAST) >= 4.5
    alice.page.press("Escape")
    alice.picture(f"{scheme}-{width}-list")
    assert alice.page.run("document.documentElement.scrollWidth") <= width


# The least contrast of a text with what is behind it, as WCAG counts it.
_WORST_CONTRAST: Final = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (each) => {
    const color = getComputedStyle(each).backgroundColor;
    return color === 'rgba(0, 0, 0, 0)' ? behind(each.parentElement) : color;
  };
  const shown = [...document.querySelectorAll('#app *')].filter((each) =>
    each.offsetParent && [...each.childNodes].some((c) => c.nodeType === 3 && c.data.trim()));
  return Math.min(...shown.map((each) => {
    const pair = [light(getComputedStyle(each).color), light(behind(each))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  }));
})()
"""


# --- logins ---


@in_a_browser
def test_a_login_is_kept_in_its_tab_alone_unless_one_asks_for_more(
    stage: Stage, browser: Page, alice: Chat
) -> None:
    assert alice.page.run("localStorage.length") == 0
    assert alice.page.run("location.href") == f"{stage.origin}/chat/"
    assert alice.page.run("document.cookie") == ""
    other = Chat(browser, f"{stage.origin}/chat/").log_in(stays=True).online()
    later = Chat(browser, f"{stage.origin}/chat/", other.user).online()

    later.page.run("document.getElementById('leave').click()")

    later.wait("the form", "document.getElementById('login')?.hidden === false")
    assert later.page.run("localStorage.length") == 0
    later.log_in(stays=True).online()
    assert later.page.run("sessionStorage.length") == 0
    later.page.run("document.getElementById('leave').click()")
    later.wait("the form", "document.getElementById('login')?.hidden === false")


@in_a_browser
def test_who_logs_out_leaves_nothing_behind_in_any_tab(
    stage: Stage, browser: Page, alice: Chat, bob: Peer
) -> None:
    second = Chat(browser, f"{stage.origin}/chat/", alice.user).log_in().online()
    stage.network.cut()
    try:
        alice.open(bob.user)
        alice.say("never to be sent")
        poll_for("it waits", lambda: alice.ticks == ["waiting"])
        alice.page.run("document.getElementById('leave').click()")
        for each in (alice, second):
            each.wait("the form", "document.getElementById('login')?.hidden === false")
    finally:
        stage.network.mend()

    again = Chat(browser, f"{stage.origin}/chat/", alice.user).log_in().online()
    again.open(bob.user)
    again.say("the first")
    assert bob.hear() == "the first"
    poll_for("it is shown", lambda: bool(again.texts))
    assert again.texts == ["the first"]


@in_a_browser
def test_a_link_to_another_relay_takes_no_token_there(stage: Stage, browser: Page) -> None:
    with files() as origin, Network() as elsewhere:
        here = f"{origin}/?url=ws://127.0.0.1:{stage.network.port}/"
        alice = Chat(browser, here).log_in("secret", stays=True).online()

        for tab in (alice.page, browser.another()):
            tab.go(f"{origin}/?url=ws://127.0.0.1:{elsewhere.port}/")
            assert tab.run("document.getElementById('login').hidden") is False
        assert elsewhere.connections == 0
        alice.page.go(here)
        alice.online()
        alice.page.run("localStorage.clear()")


@in_a_browser
def test_a_token_that_is_refused_can_be_put_right(
    start_relay: RelayStarter, browser: Page, tmp_path: Path
) -> None:
    with Network() as network:
        chat = f'{ADMIN}chat_url = "ws://127.0.0.1:{network.port}/"\n'
        relay = start_relay(admin=True, config=token_config(tmp_path) + chat + ANYWHERE)
        network.leads_to(relay.port)
        alice = Chat(browser, f"{origin_of(relay)}/chat/").log_in("wrong")

        poll_for("it is told", lambda: "login refused" in alice.banner)
        assert alice.text_of("again") == "Log in"
        alice.page.run("document.getElementById('again').click()")
        alice.wait("the form", "document.getElementById('login')?.hidden === false")
        assert alice.page.run("document.getElementById('me').value") == alice.user
        alice.log_in(token_of(alice.user, left_s=600)).online()
        assert "eyJ" not in alice.page.run("location.href + JSON.stringify(localStorage)")


# --- what serves it ---


def ask(origin: str, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_the_page_may_connect_to_the_relay_alone_and_loads_nothing_from_elsewhere(
    stage: Stage,
) -> None:
    for part in ("", "chat.css", "chat.js", "relay-client.js"):
        status, headers, content = ask(stage.origin, f"/chat/{part}")
        kind = {"": "html", "css": "css", "js": "javascript"}[part.rpartition(".")[2]]
        assert status == 200
        assert headers["content-type"] == f"text/{kind}; charset=utf-8"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert f"connect-src ws://127.0.0.1:{stage.network.port};" in policy
        assert "unsafe" not in policy
        assert "http:" not in content
        assert "https:" not in content
    page = ask(stage.origin, "/chat/")[2]
    assert f'<meta name="relay" content="ws://127.0.0.1:{stage.network.port}/">' in page
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)
    status, headers, _ = ask(stage.origin, "/chat")
    assert (status, headers["location"]) == (307, "chat/")


@in_a_browser
def test_nothing_of_the_api_can_be_reached_from_the_page(stage: Stage, alice: Chat) -> None:
    paths = ["/api/v1/status", "/metrics", "/openapi.json", "/chat/", "/chat/chat.css"]
    alice.page.run("globalThis.fate = {}; 0")
    for path in paths:
        alice.page.run(
            f"fetch({path!r}).then(() => (fate[{path!r}] = 'reached'),"
            f" () => (fate[{path!r}] = 'kept away')); 0"
        )
    alice.wait("all", f"Object.keys(fate).length === {len(paths)}")

    assert set(alice.page.run("fate").values()) == {"kept away"}
    assert {ask(stage.origin, path)[0] for path in paths[:3]} == {401}
    assert ask(stage.origin, "/chat/", "POST")[0] == 401
    assert ask(stage.origin, "/chat/index.html")[0] == 401


def test_there_is_no_page_unless_it_is_switched_on(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True, config=ADMIN)
    operator = Operator(relay)

    assert operator.ask("/chat/").status == 404
    assert operator.ask("/chat/chat.js").status == 404
    assert relay.log.events("admin.port_served") == []


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def files() -> Iterator[str]:
    """Serve the page's files as any web server does; yield the origin."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(CHAT))) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@in_a_browser
def test_any_web_server_can_serve_it(stage: Stage, browser: Page, bob: Peer) -> None:
    with files() as origin:
        alice = Chat(browser, f"{origin}/?url=ws://127.0.0.1:{stage.network.port}/")
        assert alice.text_of("where") == f"127.0.0.1:{stage.network.port}"
        alice.log_in().online().open(bob.user)
        alice.say("hello")
        assert bob.hear() == "hello"
        alice.page.close()


def test_it_is_short() -> None:
    """Without what explains it, and blank lines."""
    lines = [
        line.strip()
        for name in ("index.html", "chat.css", "chat.js")
        for line in (CHAT / name).read_text().splitlines()
    ]
    comments = ("//", "/*", "*", "<!--")

    assert len([line for line in lines if line and not line.startswith(comments)]) < MOST_LINES
    assert not [line for line in lines if len(line) > 100]
    assert "innerHTML" not in "\n".join(lines)
