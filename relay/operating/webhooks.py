"""`relay webhooks ...`: how events are posted, and those that an endpoint has not taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from relay.errors import NotAsked
from relay.operating.commands import ago, data_option, json_option, on_host, show
from relay.operating.line import Line
from relay.operating.tables import plain, table
from relay.words import size

_FAILED: Final = 1


@click.group()
def webhooks() -> None:
    """Show how events are posted to webhooks.url, and what became of those that were not taken."""


@webhooks.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> int:
    """Show what waits, since when, and what the endpoint has said last."""
    return show(Line(data).get("webhooks"), as_json, _status)


def _status(said: Mapping[str, Any]) -> str:
    if said["state"] == "off":
        return "off: webhooks.url is not set"
    lines = [f"{said['state']} to {plain(said['url'])}{on_host(said)}"]
    waits = f"waiting: {said['waiting']} events, {size(said['waiting_bytes'])}"
    if said["oldest_ms"]:
        waits += f", the oldest for {ago(said['oldest_ms'])}"
    lines.append(waits)
    lines.append(f"dead letters: {said['dead_letters']}")
    lines.append(f"last taken: {ago(said['posted_ms'])}{' ago' if said['posted_ms'] else ''}")
    if said["failed_ms"]:
        lines.append(f"last failure: {ago(said['failed_ms'])} ago: {plain(said['failure'])}")
    if said["next_try_s"]:
        lines.append(f"next try in {said['next_try_s']} s")
    if said["state"] == "gone":
        lines.append("the endpoint wants no events (410): relay webhooks resume tries again")
    return "\n".join(lines)


@webhooks.command()
@data_option
@json_option
@click.option("--limit", type=click.IntRange(1, 250), default=100, help="How many at most.")
@click.option("--cursor", default="", help="Go on behind a page: what `next` said.")
def dead(data: Path, as_json: bool, limit: int, cursor: str) -> int:
    """Show the events that are not posted any more, since when and why."""
    said = Line(data).get("webhooks", "dead-letters", limit=limit, cursor=cursor)
    return show(said, as_json, _dead)


def _dead(said: Mapping[str, Any]) -> str:
    rows = [
        (
            f"{each['worker']}:{each['seq']}:{each['owner']}",
            each["event"].get("type"),
            each["event"].get("timestamp"),
            ago(each["since_ms"]),
            each["reason"],
        )
        for each in said["dead_letters"]
    ]
    text = table(("dead letter", "event", "happened", "dead for", "reason"), rows)
    return f"{text}\nmore: --cursor {said['next']}" if said["next"] else text


@webhooks.command()
@data_option
@json_option
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.argument("letter", default="")
def retry(data: Path, as_json: bool, every: bool, letter: str) -> int:
    """Have LETTER, as `dead` shows it, wait again and be posted; or --all of them."""
    return _order(data, as_json, every, letter, "retry", "wait again")


@webhooks.command()
@data_option
@json_option
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.argument("letter", default="")
def drop(data: Path, as_json: bool, every: bool, letter: str) -> int:
    """Throw LETTER, as `dead` shows it, away for good; or --all of them."""
    return _order(data, as_json, every, letter, "drop", "are thrown away")


@webhooks.command()
@data_option
@json_option
def resume(data: Path, as_json: bool) -> int:
    """Have all that failed tried now; also where the endpoint wanted no events any more."""
    return show(Line(data).send("POST", "webhooks", "resume"), as_json, _status)


@webhooks.command()
@data_option
@json_option
def test(data: Path, as_json: bool) -> int:
    """Post an event that tells nothing, and show what the endpoint says; exit 1: not taken."""
    said = Line(data).send("POST", "webhooks", "test")
    show(said, as_json, _tested)
    return 0 if said["taken"] else _FAILED


def _tested(said: Mapping[str, Any]) -> str:
    how = "taken" if said["taken"] else "not taken"
    return f"{how}: {plain(said['detail'])}, after {said['took_ms']} ms"


def _order(data: Path, as_json: bool, every: bool, letter: str, what: str, words: str) -> int:
    if every == bool(letter):
        raise click.UsageError("name a dead letter, or give --all")
    said = Line(data).send("POST", "webhooks", "dead-letters", what, body=_which(letter))

    def ordered(said: Mapping[str, Any]) -> str:
        return f"{said['dead_letters']} dead letters {words}"

    return show(said, as_json, ordered)


def _which(letter: str) -> dict[str, Any]:
    if not letter:
        return {}
    worker, _, rest = letter.partition(":")
    seq, _, owner = rest.partition(":")
    if not (worker.isdigit() and seq.isdigit() and owner):
        raise NotAsked(f"{letter!r} is no dead letter as `relay webhooks dead` shows it")
    return {"worker": int(worker), "seq": int(seq), "owner": owner}
