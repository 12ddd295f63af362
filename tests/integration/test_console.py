"""The console in a real browser, by `relay console` and over TCP with a token."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.outside import chromium
from tests.outside.chromium import Page
from tests.outside.frames import ALICE, BOB
from tests.outside.operator import Operator, console_of
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_tokens import config as of_tokens

pytestmark = pytest.mark.ordeal

TOKEN = "c" * 40
PROGRAM = chromium.executable()
in_a_browser = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def seen() -> Iterator[Relay]:
    """A relay with an admin that serves a port too, and with something that waits."""
    with Relay(admin=True) as relay:
        Operator(relay).ask("/api/v1/status")  # it loads what answers
        author = relay.login(ALICE)
        author.send_message("away", "W1")
        author.recv()
        yield relay


@pytest.fixture(scope="module")
def address(seen: Relay) -> Iterator[str]:
    with console_of(seen) as console:
        yield console.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """One tab."""
    assert PROGRAM is not None
    with chromium.open_page(PROGRAM) as page:
        yield page


@pytest.fixture
def page(browser: Page, address: str) -> Page:
    """The tab, with a console that is live."""
    browser.go("about:blank")
    browser.open(address)
    poll_for("that it is live", lambda: browser.run(text_of("state")) == "live", deadline_s=30)
    return browser


def text_of(element: str) -> str:
    return f"document.getElementById({element!r})?.innerText"


def click(page: Page, label: str) -> None:
    page.run(
        "[...document.querySelectorAll('button')]"
        f".find((each) => each.textContent === {label!r} && each.offsetParent).click()"
    )


def show(page: Page, user: str) -> None:
    page.run(f"document.getElementById('who').value = {user!r}")
    click(page, "Show this user")
    poll_for(user, lambda: f"{user}@" in page.run(text_of("user")))


# --- the page ---


@in_a_browser
def test_it_shows_what_happens_now(page: Page) -> None:
    def sessions() -> object:
        return page.run("document.querySelector('#chart-sessions .value').textContent")

    poll_for("the sessions", lambda: sessions() == "1")
    poll_for("a line", lambda: "," in page.run(line_of("sessions")))
    assert "worker 1" in page.run(text_of("process-table"))
    label = page.run("document.querySelector('#chart-sessions svg').getAttribute('aria-label')")
    assert label.startswith("Sessions, last ")


def line_of(chart: str) -> str:
    return f"document.querySelector('#chart-{chart} polyline').getAttribute('points') ?? ''"


@in_a_browser
def test_a_user_is_found_and_shown_with_what_waits(page: Page) -> None:
    page.run(f"document.getElementById('who').value = {ALICE[:4]!r}")
    page.run("document.getElementById('search').requestSubmit()")  # as Enter does
    poll_for("who is connected", lambda: f"{ALICE}@" in page.run(text_of("found")))
    show(page, "away")

    assert "W1" in page.run(text_of("user"))
    assert "1 messages" in page.run(text_of("user"))


@in_a_browser
def test_it_says_why_a_user_gets_nothing_and_who_fills_the_disk(page: Page) -> None:
    poll_for("the disk", lambda: " stored, room for " in page.run(text_of("disk")))
    click(page, "Who fills the disk")
    poll_for("whose mailbox is large", lambda: "away@" in page.run(text_of("found")))
    assert f"{ALICE}@" in page.run(text_of("found"))
    show(page, "away")

    assert "not connected: " in page.run("document.querySelector('#user .says').innerText")


@in_a_browser
def test_a_trace_runs_in_it(page: Page, seen: Relay) -> None:
    show(page, ALICE)
    click(page, "Trace for 60 s")
    poll_for("the trace", lambda: "Tracing" in page.run(text_of("trace")))
    author = seen.login(ALICE)
    sent: list[str] = []

    def is_shown() -> bool:
        sent.append(f"T{len(sent)}")
        author.send_message(BOB, sent[-1])
        author.recv()
        return "stored" in page.run(text_of("trace"))

    poll_for("a message in it", is_shown)


@in_a_browser
def test_an_action_is_asked_about_first(page: Page) -> None:
    page.run("paths['/api/v1/users/{jid}/kick'] = {post: {}}; 0")
    show(page, "away")
    click(page, "Close its sessions")

    assert page.run("document.getElementById('confirm').open") is True
    assert "away@" in page.run(text_of("question"))
    assert page.run("document.activeElement.textContent") == "No"
    click(page, "No")
    assert page.run("document.getElementById('confirm').open") is False
    asked = page.run("performance.getEntriesByType('resource').map((each) => each.name)")
    assert not [each for each in asked if "kick" in each]


@in_a_browser
def test_tokens_of_a_user_are_revoked_where_there_are_some(
    page: Page, start_relay: RelayStarter, tmp_path: Path
) -> None:
    show(page, "away")
    assert "Revoke its tokens" not in page.run(text_of("user"))

    relay = start_relay(admin=True, config=of_tokens(tmp_path))
    operator = Operator(relay)
    operator.ask("/api/v1/status")
    with console_of(relay) as console:
        page.open(console.address)
        poll_for("that it is live", lambda: page.run(text_of("state")) == "live", deadline_s=30)
        show(page, ALICE)
        click(page, "Revoke its tokens")
        assert f"{ALICE}@" in page.run(text_of("question"))
        click(page, "Yes")
        poll_for("that it is done", lambda: "Revoke its tokens: done" in page.run(text_of("user")))
        assert "its tokens were revoked" in page.run(text_of("user"))
        (revoked,) = operator.ask("/api/v1/tokens/revoked").json["revocations"]
        assert revoked["jid"] == f"{ALICE}@s.whatsapp.com"
        click(page, "Restore its tokens")
        click(page, "Yes")
        poll_for("that it is undone", lambda: "its tokens were" not in page.run(text_of("user")))
        assert operator.ask("/api/v1/tokens/revoked").json["revocations"] == []


@in_a_browser
def test_it_asks_nobody_else_and_leaves_nothing_behind(page: Page, address: str) -> None:
    asked = page.run("performance.getEntriesByType('resource').map((each) => each.name)")
    own = address.partition("#")[0]

    assert [each for each in asked if not each.startswith((own, "data:"))] == []
    assert page.run("document.cookie + localStorage.length") == "0"
    assert page.run("location.href") == own  # the token is in no history


@in_a_browser
@pytest.mark.parametrize("width", [390, 768, 1400])
def test_no_width_needs_to_be_scrolled_sideways(page: Page, width: int) -> None:
    show(page, "away")
    page.resize(width, 800)

    assert page.run("document.documentElement.scrollWidth") <= width


@in_a_browser
def test_everything_that_is_used_has_a_name(page: Page) -> None:
    show(page, "away")
    nameless = page.run(
        "[...document.querySelectorAll('button, input, [tabindex=\"0\"], svg')].filter((each) =>"
        " !each.textContent.trim() && !each.labels?.length && !each.getAttribute('aria-label')"
        " && !each.getAttribute('aria-labelledby')).map((each) => each.outerHTML)"
    )

    assert nameless == []


# --- over TCP ---


@in_a_browser
def test_over_tcp_a_token_is_typed_in(
    start_relay: RelayStarter, tmp_path: Path, browser: Page
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} read\n")
    tokens.chmod(0o600)
    relay = start_relay(admin=True, config=f'[admin]\nport = 0\ntoken_file = "{tokens}"\n')
    poll_for("the port", lambda: bool(relay.log.events("admin.port_served")))
    port = relay.log.events("admin.port_served")[0]["port"]
    browser.go(f"http://127.0.0.1:{port}/")
    poll_for("the form", lambda: browser.run(text_of("token")) is not None)

    def enter(token: str) -> None:
        browser.run(f"document.getElementById('token').value = {token!r}")
        click(browser, "Enter")

    poll_for("what to do", lambda: "needed" in browser.run(text_of("summary")))
    enter("x" * 40)
    poll_for("a refusal", lambda: "no token that is known" in browser.run(text_of("refused")))
    enter(TOKEN)
    poll_for("that it is live", lambda: browser.run(text_of("state")) == "live")
    click(browser, "Forget the token")
    assert browser.run("sessionStorage.length") == 0


# --- what serves it ---


def ask(address: str, path: str, *, token: str = "", method: str = "GET") -> tuple[int, str, str]:
    there = urlsplit(address)
    connection = http.client.HTTPConnection(there.netloc, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        policy = answer.getheader("Content-Security-Policy") or ""
        return answer.status, policy, answer.read().decode()
    finally:
        connection.close()


def test_the_port_of_the_command_wants_its_token(address: str) -> None:
    token = address.partition("#token=")[2]
    paths = ("/api/v1/status", "/openapi.json", "/metrics", "/nowhere", "/?x=1")

    assert {ask(address, path)[0] for path in paths} == {401}
    assert {ask(address, path, token="x" * 43)[0] for path in paths} == {401}
    assert ask(address, "/", method="POST")[0] == 401
    assert ask(address, "/api/v1/status", token=token)[0] == 200
    assert ask(address, "/nowhere", token=token)[0] == 404


def test_the_page_may_load_nothing_from_elsewhere_and_nothing_inline(address: str) -> None:
    for path in ("/", "/console.css", "/console.js"):
        status, policy, content = ask(address, path)
        assert status == 200
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http://" not in content.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in content
    page = ask(address, "/")[2]
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)
