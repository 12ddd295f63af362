"""An endpoint for webhooks in a process of its own, which may be slow, wrong or killed.

It writes down each request before it answers, and answers as a file says by then: a status, or one
of MODES. So a test knows what has reached it, whatever became of the answer.
"""

from __future__ import annotations

import base64
import hmac
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from .processes import REPOSITORY
from .waiting import poll_for

MODES: Final = ("hang", "huge", "drip", "redirect", "cut")
SECRET: Final = "whsec_" + base64.b64encode(b"a secret of 32 bytes for tests..").decode()


class Got(NamedTuple):
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def is_signed_by(self, secret: str) -> bool:
        """Tell so as the specification has it, without the relay's code."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = base64.b64encode(hmac.digest(key, text, "sha256")).decode()
        return f"v1,{wanted}" in self.headers["webhook-signature"].split(" ")


class Receiver:
    """The process; it keeps its port when it is killed and started again."""

    def __init__(
        self, directory: Path, *, answers: str = "200", tls: tuple[Path, Path] | None = None
    ) -> None:
        """`tls` are a certificate and its key."""
        self._tls = tls
        directory.mkdir(parents=True, exist_ok=True)
        self._book = directory / "requests"
        self._mode = directory / "mode"
        self._book.touch()
        self.answer(answers)
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            self.port: int = trial.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/events?key=hidden"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        module = "tests.outside.receiver"
        arguments = [str(self.port), str(self._book), str(self._mode)]
        arguments += map(str, self._tls or ())
        self._process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=REPOSITORY)
        poll_for("the receiver", self._listens)

    def _listens(self) -> bool:
        with socket.socket() as trial:
            return trial.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def answer(self, mode: str) -> None:
        """Answer so from here on: "503 2" has a Retry-After of 2 s."""
        new = self._mode.with_suffix(".new")
        new.write_text(mode)
        new.replace(self._mode)

    def got(self) -> list[Got]:
        lines = self._book.read_text().splitlines()
        found = map(json.loads, lines)
        return [
            Got(each["path"], each["headers"], each["body"].encode(), each["at_s"])
            for each in found
        ]

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Return what has come, of one type or of all, without repeats, batches taken apart."""
        seen: dict[str, dict[str, Any]] = {}
        for each in self.got():
            body = each.json
            for event in body["data"]["events"] if body["type"] == "events.batch" else [body]:
                if kind in ("", event["type"]):
                    seen.setdefault(event.get("id", each.id), event)
        return list(seen.values())

    def wait_for(self, count: int, kind: str = "") -> Sequence[dict[str, Any]]:
        poll_for(f"{count} events {kind}", lambda: len(self.events(kind)) >= count)
        return self.events(kind)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    book: Path
    mode: Path

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        note = {
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "path": self.path,
            "body": body.decode(),
            "at_s": time.time(),
        }
        with self.book.open("a") as book:
            book.write(json.dumps(note) + "\n")
        if self.path.startswith("/elsewhere"):
            self._say(200)
            return
        mode, _, more = self.mode.read_text().partition(" ")
        match mode:
            case "hang":
                time.sleep(60)
            case "cut":
                self.close_connection = True
            case "huge":
                self.send_response(200)
                self.send_header("Content-Length", str(1 << 40))
                self.end_headers()
                while True:
                    self.wfile.write(b"x" * 65536)
            case "drip":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                for _ in range(1000):
                    self.wfile.write(b"x")
                    time.sleep(0.2)
            case "redirect":
                self.send_response(307)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()
            case "slow":
                time.sleep(float(more))
                self._say(200)
            case _:
                self._say(int(mode), retry_after=more)

    def _say(self, status: int, retry_after: str = "") -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        self.send_header("Content-Length", "0")
        self.send_header("Set-Cookie", "a=b; Path=/")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # whoever is cut off


def main(port: str, book: str, mode: str, *tls: str) -> None:
    _Handler.book, _Handler.mode = Path(book), Path(mode)
    server = _Server(("127.0.0.1", int(port)), _Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
