"""Pages in a real browser, of the relay's own host and of others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.outside.chromium import Page, executable, open_page
from tests.outside.relay import DEBUG
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

CHROMIUM = executable()
SCRIPT = """
var outcome = "";
var socket = new WebSocket("ws://127.0.0.1:%d/");
socket.onopen = () => { outcome = "opened"; socket.close(); };
socket.onerror = () => { outcome = "failed"; };
"""


class _Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a page</title>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[int]:
    """A web server at another port of this host, which is another origin."""
    with HTTPServer(("127.0.0.1", 0), _Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def outcome(page: Page, port: int) -> str:
    page.run(SCRIPT % port)
    poll_for("the browser knows", lambda: bool(page.run("outcome")))
    return str(page.run("outcome"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_page_of_another_origin_is_let_in_once_it_is_allowed(
    start_relay: RelayStarter, site: int
) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    assert CHROMIUM is not None
    with open_page(CHROMIUM) as page:
        assert outcome(page, relay.port) == "failed"  # of nowhere: its origin is "null"
        page.go(f"http://127.0.0.1:{site}/")
        assert outcome(page, relay.port) == "failed"
        page.go(f"http://127.0.0.1:{relay.port}/healthz")
        assert outcome(page, relay.port) == "opened"

        relay.take(f'{DEBUG}[server]\nallowed_origins = ["http://127.0.0.1:{site}"]')

        assert outcome(page, relay.port) == "failed"  # a list is all there is
        page.go(f"http://127.0.0.1:{site}/")
        assert outcome(page, relay.port) == "opened"
    lines = relay.log.events("origins.refused")
    assert (lines[0]["last_origin"], lines[0]["last_reason"]) == ("null", "no web server's page")
    relay.drop_clients()
    relay.stop()
    [stopped] = relay.log.events("front.stopped")
    assert stopped["origins_refused"] == 3
