"""`relay kick`, `ban`, `unban` and `bans`: users who are sent away."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from relay.operating.commands import ago, data_option, json_option, show
from relay.operating.line import Line
from relay.operating.tables import plain, table


@click.command()
@data_option
@json_option
@click.argument("jid")
def kick(data: Path, as_json: bool, jid: str) -> int:
    """Close the sessions of JID; its client may come again, and will."""
    return show(Line(data).send("POST", "users", jid, "kick"), as_json, _kicked)


def _kicked(said: Mapping[str, Any]) -> str:
    return f"{said['jid']}: {said['sessions']} sessions closed"


@click.command()
@data_option
@json_option
@click.option("--reason", default="", help="For other operators; the user does not hear it.")
@click.argument("jid")
def ban(data: Path, as_json: bool, reason: str, jid: str) -> int:
    """Throw JID out: sessions are closed, logins refused, until `relay unban`.

    What was sent to it and what it has sent stays; `relay purge JID` removes what was sent to it.
    """
    said = Line(data).send("PUT", "users", jid, "ban", body={"reason": reason})
    return show(said, as_json, _banned)


def _banned(said: Mapping[str, Any]) -> str:
    return f"{said['jid']}: banned for {ago(said['since_ms'])}, by {plain(said['by'])}"


@click.command()
@data_option
@json_option
@click.argument("jid")
def unban(data: Path, as_json: bool, jid: str) -> int:
    """Let JID in again."""
    return show(Line(data).send("DELETE", "users", jid, "ban"), as_json, _unbanned)


def _unbanned(said: Mapping[str, Any]) -> str:
    return f"{said['jid']}: {'may log in again' if said['was_banned'] else 'was not banned'}"


@click.command()
@data_option
@json_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="How many at most.")
@click.option("--after", type=click.IntRange(0), default=0, help="Go on behind a page.")
def bans(data: Path, as_json: bool, limit: int, after: int) -> int:
    """Show who was thrown out, since when, by whom and why."""
    return show(Line(data).get("bans", limit=limit, after=after), as_json, _bans)


def _bans(said: Mapping[str, Any]) -> str:
    rows = [(b["jid"], ago(b["since_ms"]), b["by"], b["reason"]) for b in said["bans"]]
    text = table(("user", "since", "by", "reason"), rows) if rows else "nobody is banned"
    return f"{text}\nmore: --after {said['next']}" if said["next"] else text
