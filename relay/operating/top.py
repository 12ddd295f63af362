"""`relay top`: what happens now, a second at a time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from relay.errors import NotAnswered, NotAsked
from relay.operating.commands import PARTLY, data_option, json_option
from relay.operating.line import Line
from relay.operating.rates import RelayRates, lines, rates

_WIDTH = 100  # where there is no terminal
_KEYS = "q: quit"
_SENDERS = 5


@click.command()
@data_option
@json_option
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.2, 60),
    default=1.0,
    metavar="SECONDS",
    help="Seconds between two looks (default: 1).",
)
@click.option("--once", is_flag=True, help="Show one look, as where stdout is no terminal.")
def top(data: Path, as_json: bool, every_s: float, once: bool) -> int:
    """Show what happens now: rates, latencies, and the slowest processes first.

    \b
    per s     messages that came by a front, decisions of a worker
    p50, p99  of a front, from a message to its ack 1; of a worker, writing a batch.
              About: a sample, within a bucket
    batch     decisions that a worker makes with one sync
    link      how full a front's links are; at 1.00 it reads less from its clients
    most is sent by   who has sent most in the last five to ten seconds; about
    hosts     of several that are one relay: how each is, and how many ranges it owns

    Of several hosts all but the last two is of this one.
    Ends with q or Ctrl-C. Where the terminal is narrow, the last columns are left out.
    """
    line = Line(data)
    if once or as_json or not (sys.stdout.isatty() and sys.stdin.isatty()):
        before = line.get("figures")
        time.sleep(every_s)
        now = line.get("figures")
        found = rates(before, now, _senders(line), _cluster(line, now))
        if as_json:
            click.echo(msgspec.json.encode(found).decode())
        else:
            click.echo("\n".join(lines(found, _WIDTH)))
        return PARTLY if found.not_asked else 0
    _show_live(line, every_s)
    return 0


def _senders(line: Line) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = line.get("senders", limit=_SENDERS)["senders"]
    return found


def _cluster(line: Line, figures: dict[str, Any]) -> dict[str, Any] | None:
    """Return how all hosts are, None where there is one, or nobody says."""
    if not figures.get("host"):
        return None
    try:
        found: dict[str, Any] = line.get("cluster")
        return found
    except NotAnswered:
        return None


class _Looks:
    """What a thread of its own has found: a relay that does not answer holds no key up."""

    def __init__(self, line: Line, every_s: float) -> None:
        self._line = line
        self._every_s = every_s
        self.found: RelayRates | None = None
        self.trouble = ""

    def go_on(self, seen: Callable[[], None]) -> None:
        """Look again and again; say when there is something to show."""
        before: dict[str, Any] | None = None
        while True:
            try:
                now, senders = self._line.get("figures"), _senders(self._line)
                cluster = _cluster(self._line, now)
            except NotAsked as error:
                self.trouble = str(error)
            else:
                self.trouble = ""
                if before is not None and now["at_s"] > before["at_s"]:
                    self.found = rates(before, now, senders, cluster)
                before = now
            seen()
            time.sleep(self._every_s)


def _show_live(line: Line, every_s: float) -> None:
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.layout import FormattedTextControl, Layout, Window

    looks = _Looks(line, every_s)
    keys = KeyBindings()

    @keys.add("q")
    @keys.add("c-c")
    @keys.add("c-d")
    def _(event: KeyPressEvent) -> None:
        event.app.exit()

    def text() -> str:
        width = app.output.get_size().columns
        found = looks.found
        shown = ["asking the relay"] if found is None else lines(found, width)
        return "\n".join([*shown, "", f"{_KEYS}  {looks.trouble}"[:width]])

    app: Application[None] = Application(
        layout=Layout(Window(FormattedTextControl(text, show_cursor=False))),
        key_bindings=keys,
        full_screen=True,
    )
    threading.Thread(target=looks.go_on, args=(app.invalidate,), daemon=True).start()
    app.run()
