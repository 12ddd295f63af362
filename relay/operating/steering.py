"""`relay reload`, `roll`, `drain` and `workers`: what the supervisor does for operators.

Of several hosts that are one relay each has its own, and this is of one.

Each waits for the end of it. Exit codes: 0 it is done, 1 it failed, 2 bad usage, 3 nobody knows yet
what becomes of it.
"""

from __future__ import annotations

import sys
import time
from http.client import NOT_FOUND
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
# So long an admin may be gone that is renewed, or has died, before that is the end.
_PATIENCE_S: Final = 15.0
_ROLL: Final = "roll"  # its end is told by another admin than was asked

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
    """Have the settings and the groups file of this host read again, as SIGHUP does.

    In a cluster what they say holds on all hosts then, or on none.
    """
    return _follow(data, as_json, wait_s, "reload")


@click.command()
@data_option
@json_option
@wait_option
def roll(data: Path, as_json: bool, wait_s: float) -> int:
    """Renew every process with the code in place, one after another, as SIGUSR2 does.

    Of several hosts it is this one's.
    """
    return _follow(data, as_json, wait_s, "roll")


@click.command()
@data_option
@json_option
@wait_option
@click.argument("role", type=click.Choice(["front", "worker"]))
@click.argument("index", type=click.IntRange(0))
def drain(data: Path, as_json: bool, wait_s: float, role: str, index: int) -> int:
    """Renew one process: its clients are sent away a few at a time, and a successor serves.

    `relay stop` stops all of them, as for a reboot. Of several hosts it is a process of this one;
    `relay cluster drain` empties a host.
    """
    return _follow(data, as_json, wait_s, "processes", role, str(index), "drain")


@click.command()
@data_option
@json_option
@wait_option
@click.argument("number", type=click.IntRange(1))
def workers(data: Path, as_json: bool, wait_s: float, number: int) -> int:
    """Have NUMBER workers from the next start on, for good; `relay status` shows that.

    The next start lays the stores out anew before it serves. Until somebody changes what the
    settings file says of it, this counts; what the command line says counts over it.
    """
    body = {"workers": number}
    return _follow(data, as_json, wait_s, "workers", method="PUT", body=body)


def _follow(
    data: Path,
    as_json: bool,
    wait_s: float,
    *parts: str,
    method: str = "POST",
    body: object = None,
) -> int:
    """Ask for it, wait for its end, print that; return the exit code."""
    begun_s = time.monotonic()
    said = Line(data).send(method, *parts, body=body)
    return told(ended(data, said, wait_s - (time.monotonic() - begun_s)), as_json)


def told(said: Any, as_json: bool) -> int:
    """Print what has become of an operation; return the exit code."""
    if as_json:
        click.echo(msgspec.json.encode(said).decode())
    else:
        click.echo(f"{said['what']}: {said['state']}: {plain(said['detail'])}")
    return {"done": 0, "failed": FAILED}.get(said["state"], PARTLY)


def ended(data: Path, said: Any, wait_s: float) -> Any:
    """Wait for the end of an operation, that long at most; return how it is then.

    On a terminal it is shown how far it is.
    """
    heard_s = time.monotonic()
    until_s = heard_s + wait_s
    shows = sys.stderr.isatty()
    while said["state"] == "running" and time.monotonic() < until_s:
        if shows:
            click.echo(f"\r{plain(said['detail'])[:100]}\x1b[K", err=True, nl=False)
        time.sleep(_AGAIN_S)
        try:
            said = Line(data).get("operations", said["id"])
            heard_s = time.monotonic()
        except NotAsked as error:
            if error.status == NOT_FOUND and said["id"] != _ROLL:
                said = _unknown(said, "the admin is another by now, and knows nothing of it")
            elif time.monotonic() - heard_s > _PATIENCE_S:
                said = _unknown(said, str(error))
    if shows:
        click.echo("\r\x1b[K", err=True, nl=False)
    return said


def _unknown(before: Any, why: str) -> Any:
    return {**before, "state": "unknown", "detail": f"{why}; look, and ask again"}
