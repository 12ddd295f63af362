"""What the tests of the JavaScript client share: programs that chat by it, in Node or in a page."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from tests.documents import ROOT
from tests.outside.waiting import poll_for

MODULE: Final = ROOT / "relay" / "web" / "client" / "relay-client.js"

# Notes what happens to the client that `start` makes; the messages are in the page's memory.
_PROGRAM: Final = """
globalThis.got = [];
globalThis.events = [];
globalThis.sendings = new Map();
globalThis.tokens = [];
globalThis.start = (url, user, options) => {
  if (options.tokens) {
    globalThis.tokens = options.tokens;
    options.token = ({ renew }) => {
      events.push({ type: "asked", renew });
      return tokens.length > 1 ? tokens.shift() : tokens[0];
    };
  }
  const client = (globalThis.client = new RelayClient(url, user, options));
  client.on("message", (message) => {
    got.push(message.text);
    if (options.reads) client.markRead(message);
  });
  const noted = ["sent", "receipt", "failed", "delayed", "connected", "disconnected", "trouble"];
  for (const type of noted)
    client.on(type, (event) => events.push(event));
  client.on("end", ({ error }) => events.push({ type: "end", name: error && error.name }));
  client.connect();
};
globalThis.say = (to, text) => {
  const sending = client.send(to, text);
  const fate = { sent: false, delivered: false, read: false };
  for (const each of Object.keys(fate)) sending[each].then(() => (fate[each] = true), () => {});
  sendings.set(sending.id, fate);
};
globalThis.chatter = (to, name, from, until, gapMs) => {
  say(to, name + from);
  if (from < until) setTimeout(chatter, gapMs, to, name, from + 1, until, gapMs);
};
globalThis.count = (fate) => [...sendings.values()].filter((each) => each[fate]).length;
"""


class Place(Protocol):
    """Where scripts run."""

    def run(self, script: str) -> Any:
        """Run a script; return the value of its last expression."""

    @property
    def pid(self) -> int:
        """Of the process below which all of it runs."""


class Program:
    """A program that chats by the client, wherever it runs."""

    def __init__(self, place: Place, load: str) -> None:
        self.place = place
        place.run(f"{load}; undefined")
        poll_for("the module is loaded", lambda: self.run("typeof RelayClient") == "function")
        self.run(_PROGRAM + "undefined")

    def run(self, script: str) -> Any:
        return self.place.run(script)

    def start(self, url: str, user: str, **options: Any) -> None:
        self.run(f"start({json.dumps(url)}, {json.dumps(user)}, {json.dumps(options)}); undefined")

    def say(self, to: str, *texts: str) -> None:
        for text in texts:
            self.run(f"say({json.dumps(to)}, {json.dumps(text)}); undefined")

    def chatter(self, to: str, name: str, *, times: int, gap_ms: int) -> None:
        """Say `name` with the numbers from 1, by and by, in the background."""
        arguments = json.dumps([to, name, 1, times, gap_ms])
        self.run(f"chatter(...{arguments}); undefined")

    @property
    def got(self) -> list[str]:
        got: list[str] = self.run("got")
        return got

    def events(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run(
            f"events.filter((each) => each.type === {json.dumps(kind)})"
        )
        return found

    def story(self) -> str:
        """What to look at where something is missing."""
        rest = "events.filter(({ type }) => type !== 'sent' && type !== 'receipt')"
        unread = "[...sendings.values()].flatMap((each, n) => each.read ? [] : [[n + 1, each]])"
        return f"got {self.got}; events {self.run(rest)}; not read {self.run(unread)}"

    def wait_for(self, what: str, condition: str, *, deadline_s: float = 30.0) -> None:
        poll_for(f"{what}: {condition}", lambda: bool(self.run(condition)), deadline_s=deadline_s)

    def wait_online(self) -> None:
        self.wait_for("the login", "client.online")


def in_node(place: Place) -> Program:
    """Return a program in Node."""
    load = f'import("{MODULE}").then((module) => Object.assign(globalThis, module))'
    # The answer of the driver awaits the module.
    return Program(place, f"void {load}")


def in_page(place: Place) -> Program:
    """Return a program in a page of the site below."""
    load = 'import("/relay-client.js").then((module) => Object.assign(globalThis, module))'
    return Program(place, f"void {load}")


class _Site(BaseHTTPRequestHandler):
    page = "<!doctype html><meta charset=utf-8><title>a page</title>"

    def do_GET(self) -> None:
        is_module = self.path == "/relay-client.js"
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if is_module else "text/html")
        self.end_headers()
        self.wfile.write(MODULE.read_bytes() if is_module else self.page.encode())

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site(page: str = _Site.page) -> Iterator[str]:
    """Serve a page and the module; yield the origin."""
    handler = type("_Site", (_Site,), {"page": page})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
