"""A page in a real Firefox, steered by WebDriver BiDi, which it speaks itself."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .waiting import poll_for
from .websocket import WebSocket

_NAMES: Final = ("firefox-esr", "firefox")
_SAYS: Final = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
_START_S: Final = 60.0


def executable() -> str | None:
    """Return where Firefox is, None where it is not installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab, with nothing in it but the scripts that it is given."""

    def __init__(self, bidi: WebSocket, numbers: Iterator[int], pid: int) -> None:
        self._bidi = bidi
        self._numbers = numbers
        self.pid: Final = pid  # the whole browser's; all its other processes are below that one
        created = self._ask("browsingContext.create", type="tab")
        self._target = {"context": created["context"]}

    def another(self) -> Page:
        """Return a new tab beside this one, in the same browser."""
        return Page(self._bidi, self._numbers, self.pid)

    def go(self, url: str) -> None:
        """Show what is at `url`; its scripts are then of there."""
        self._ask("browsingContext.navigate", url=url, wait="complete", **self._target)

    def run(self, script: str) -> Any:
        """Run a script; return the value of its last expression."""
        answer = self._ask(
            "script.evaluate",
            expression=f"JSON.stringify((0, eval)({json.dumps(script)})) ?? 'null'",
            target=self._target,
            awaitPromise=False,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def close(self) -> None:
        """Close the tab."""
        self._ask("browsingContext.close", **self._target)

    def _ask(self, method: str, **params: object) -> dict[str, Any]:
        return ask(self._bidi, next(self._numbers), method, params)


def ask(bidi: WebSocket, number: int, method: str, params: dict[str, object]) -> dict[str, Any]:
    """Return the answer to one command."""
    bidi.send_text(json.dumps({"id": number, "method": method, "params": params}).encode())
    while True:
        answer: dict[str, Any] = json.loads(bidi.recv_text(_START_S))
        if answer.get("id") == number:
            assert answer["type"] == "success", answer
            result: dict[str, Any] = answer["result"]
            return result


@contextmanager
def open_page(program: str) -> Iterator[Page]:
    """Start Firefox with one tab; both end with the context."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        told = Path(directory) / "log"
        with told.open("wb") as log:
            process = subprocess.Popen(
                [
                    *(program, "--headless", "--no-remote", "--profile", directory),
                    *("--remote-debugging-port", "0", "about:blank"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        try:
            poll_for(
                "Firefox says where it listens",
                lambda: _SAYS.search(told.read_text()) is not None,
                deadline_s=_START_S,
            )
            where = _SAYS.search(told.read_text())
            assert where is not None
            with WebSocket(f"{where[1]}/session") as bidi:
                numbers = itertools.count(1)
                ask(bidi, next(numbers), "session.new", {"capabilities": {}})
                yield Page(bidi, numbers, process.pid)
        finally:
            process.terminate()
            process.wait()
