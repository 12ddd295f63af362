"""A page in a real Chromium, steered by its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .waiting import poll_for
from .websocket import WebSocket

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
# Without a sandbox, because tests may run as root, who can have none.
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-port=0",
)
_START_S: Final = 60.0


def executable() -> str | None:
    """Return where Chromium is, None where it is not installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Page:
    """One tab, with nothing in it but the scripts that it is given."""

    def __init__(self, devtools: WebSocket, browser: subprocess.Popen[bytes]) -> None:
        self._devtools = devtools
        self._browser = browser
        self._numbers = itertools.count(1)
        self._session: dict[str, str] = {}
        self._target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}

    def another(self) -> Page:
        """Return a new tab beside this one, in the same browser."""
        return Page(self._devtools, self._browser)

    def go(self, url: str) -> None:
        """Show what is at `url`; its scripts are then of there."""
        self._ask("Page.navigate", url=url)
        poll_for(
            f"the page at {url}",
            lambda: self.run("document.readyState + ' ' + location.href") == f"complete {url}",
        )

    def open(self, url: str) -> None:
        """Begin to show what is at `url`, which may then call itself something else."""
        self._ask("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Run a script; return the value of its last expression."""
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """Have the page be so large, in CSS pixels."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Have the page be looked at by somebody who likes it "light" or "dark"."""
        wishes = [{"name": "prefers-color-scheme", "value": scheme}]
        self._ask("Emulation.setEmulatedMedia", features=wishes)

    def picture(self) -> bytes:
        """Return what is to be seen, as a PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])

    def type(self, text: str) -> None:
        """Type where the focus is."""
        self._ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press and release a key, as "Enter" or "Escape"."""
        code = {"Enter": 13, "Escape": 27, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        parts = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self._ask("Input.dispatchKeyEvent", type="keyDown", **parts, **text)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **parts)

    def freeze(self) -> None:
        """Have its scripts stand still, as those of a tab that was not looked at for long."""
        self._ask("Page.enable")
        self._ask("Emulation.setFocusEmulationEnabled", enabled=False)
        self._ask("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        """Let its scripts go on."""
        self._ask("Page.setWebLifecycleState", state="active")

    def look_at(self) -> None:
        """Have it be the tab that is looked at.

        One that was frozen stays hidden without more, and its timers go once a second at most.
        """
        self._ask("Page.bringToFront")
        self._ask("Emulation.setFocusEmulationEnabled", enabled=True)

    @property
    def pid(self) -> int:
        """The whole browser's; all its other processes are below that one."""
        return self._browser.pid

    def close(self) -> None:
        """Close the tab."""
        self._session = {}
        self._ask("Target.closeTarget", targetId=self._target)

    def _ask(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        question = {"id": number, "method": method, "params": params, **self._session}
        self._devtools.send_text(json.dumps(question).encode())
        while True:
            answer: dict[str, Any] = json.loads(self._devtools.recv_text())
            if answer.get("id") == number:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result


@contextmanager
def open_page(program: str, *flags: str, under: Sequence[str] = ()) -> Iterator[Page]:
    """Start Chromium with one tab, and with `flags` more; both end with the context.

    `under` is a command that becomes the one behind it, such as `nice -n 19`.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        process = subprocess.Popen(
            [*under, program, *_FLAGS, *flags, f"--user-data-dir={directory}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            told = Path(directory) / "DevToolsActivePort"
            poll_for(
                "Chromium says where it listens",
                lambda: told.exists() and len(told.read_text().split()) == 2,
                deadline_s=_START_S,
            )
            port, path = told.read_text().split()
            with WebSocket(f"ws://127.0.0.1:{port}{path}") as devtools:
                yield Page(devtools, process)
        finally:
            process.terminate()
            process.wait()
