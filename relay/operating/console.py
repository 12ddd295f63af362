"""`relay console`: a port on loopback for a browser, which can knock at no Unix socket.

Whoever else is on the machine can reach that port. So it wants a token of its own, made for this
run, which the printed address hands to the page behind its #: no server and no log ever sees that.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import sys
import webbrowser
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import click

from relay.errors import NotAsked
from relay.operating.commands import data_option
from relay.operating.line import Line

HOST: Final = "127.0.0.1"
_PAGE_PATHS: Final = frozenset({"/", "/console.css", "/console.js"})
_MAX_BODY_BYTES: Final = 1024 * 1024
_PASSED_ON: Final = ("Content-Type", "Accept")
_PASSED_BACK: Final = frozenset(
    {
        *("content-type", "content-security-policy", "x-content-type-options"),
        *("referrer-policy", "cache-control"),
    }
)


@click.command()
@data_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1 (default: any)."
)
@click.option("--open", "opens", is_flag=True, help="Open it in a browser of this machine.")
def console(data: Path, port: int, opens: bool) -> int:
    """Serve the console to a browser on this machine, until Ctrl-C.

    It may do what `relay` may at the relay's socket. The address that is printed has a token that
    holds until this ends: whoever has it is an operator.
    """
    line = Line(data)
    line.get("status")  # so that it is now that one hears of what is wrong
    try:
        server = _Server(line, port)
    except OSError as error:
        raise NotAsked(f"port {port} cannot be listened at: {error.strerror}") from None
    with server:
        where = f"http://{HOST}:{server.server_port}/"
        address = f"{where}#token={server.token}"
        click.echo(f"open {address}")
        click.echo(
            f"from another machine first: ssh -L {server.server_port}:{HOST}:{server.server_port}"
            f" {socket.gethostname()}\nCtrl-C ends it",
            err=True,
        )
        if opens:
            webbrowser.open(address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass
    return 0


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, line: Line, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.line = line
        self.token = secrets.token_urlsafe(32)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has left amid an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    timeout = 30

    def _answer(self) -> None:
        if not self._may():
            self._say(HTTPStatus.UNAUTHORIZED, b'{"detail": "the token of `relay console`"}')
            return
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= _MAX_BODY_BYTES or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b'{"detail": "too long"}')
            return
        body = self.rfile.read(length) if length else None
        given = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
        try:
            status, headers, content = self.server.line.forward(
                self.command, self.path, body, given
            )
        except NotAsked:
            self._say(HTTPStatus.BAD_GATEWAY, b'{"detail": "the relay does not answer"}')
            return
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() in _PASSED_BACK:
                self.send_header(name, value)
        self._end(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer

    def _may(self) -> bool:
        if self.path in _PAGE_PATHS:
            return self.command == "GET"  # the page says nothing of the relay
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            token.strip().encode(), self.server.token.encode()
        )

    def _say(self, status: HTTPStatus, content: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Type", "application/problem+json")
        self._end(content)

    def _end(self, content: bytes) -> None:
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a line for each look would bury the address."""
