"""Whoever makes tokens publishes keys: a real HTTP server that answers as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

Handler = BaseHTTPRequestHandler
Answer = Callable[[Handler], None]


class Publisher:
    """Serves until it is left; `asked` counts, `answer` answers one request."""

    def __init__(self, answer: Answer, port: int = 0) -> None:
        self.answer = answer
        self.asked = 0
        publisher = self

        class Each(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked += 1
                publisher.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                """A test wants it so, or who has asked has gone."""

        self._server = Server(("127.0.0.1", port), Each)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def says(status: int, content: bytes, **headers: str) -> Answer:
    """Answer that; a header is named with _ for -."""

    def answer(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def publishes(*keys: dict[str, Any], **headers: str) -> Answer:
    return says(200, json.dumps({"keys": keys}).encode(), **headers)
