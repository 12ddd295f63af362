"""`relay reload`, `roll` and `drain`: what the supervisor does for operators.

Each waits for the end of it. Exit codes: 0 it is done, 1 it failed, 2 bad usage, 3 nobody knows yet
what becomes of it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.errors import NotAsked
from relay.operating.commands import PARTLY, data_option, json_option
from relay.operating.line import Line
from relay.operating.tables import plain

FAILED: Final = 1
_AGAIN_S: Final = 0.2

wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=600.0,
    help="Seconds to wait for its end (default: 600).",
)


@click.command()
@data_option
@json_option
@wait_option
def reload(data: Path, as_json: bool, wait_s: float) -> int:
    """Have the settings and the groups file read again, as SIGHUP does."""
    return _follow(data, as_json, wait_s, "reload")


@click.command()
@data_option
@json_option
@wait_option
def roll(data: Path, as_json: bool, wait_s: float) -> int:
    """Renew every process with the code in place, one after another, as SIGUSR2 does."""
    return _follow(data, as_json, wait_s, "roll")


@click.command()
@data_option
@json_option
@wait_option
@click.argument("role", type=click.Choice(["front", "worker"]))
@click.argument("index", type=click.IntRange(0))
def drain(data: Path, as_json: bool, wait_s: float, role: str, index: int) -> int:
    """Renew one process: its clients are sent away a few at a time, and a successor serves."""
    return _follow(data, as_json, wait_s, "processes", role, str(index), "drain")


def _follow(data: Path, as_json: bool, wait_s: float, *parts: str) -> int:
    """Ask for it, wait for its end, print that; return the exit code."""
    until_s = time.monotonic() + wait_s
    said = Line(data).send("POST", *parts)
    while said["state"] == "running" and time.monotonic() < until_s:
        time.sleep(_AGAIN_S)
        said = _again(data, said)
    if as_json:
        click.echo(msgspec.json.encode(said).decode())
    else:
        click.echo(f"{said['what']}: {said['state']}: {plain(said['detail'])}")
    return {"done": 0, "failed": FAILED}.get(said["state"], PARTLY)


def _again(data: Path, before: Any) -> Any:
    """Return how it is now; how it was where the admin is just being renewed, too."""
    try:
        return Line(data).get("operations", before["id"])
    except NotAsked:
        return before
