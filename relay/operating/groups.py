"""`relay groups ...`: which groups there are, and those that are made and changed by command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from relay.errors import NotAsked
from relay.operating.commands import PARTLY, data_option, json_option, show
from relay.operating.line import Line
from relay.operating.tables import plain, table

_FAILED = 1


@click.group()
def groups() -> None:
    """Show, make and change groups; those of the groups file are changed there."""


@groups.command("list")
@data_option
@json_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="How many at most.")
@click.option("--cursor", default="", help="Go on behind a page: what `next` said.")
@click.argument("prefix", default="")
def list_(data: Path, as_json: bool, limit: int, cursor: str, prefix: str) -> int:
    """Show which groups there are, all or whose jid begins with PREFIX."""
    said = Line(data).get("groups", prefix=prefix, limit=limit, cursor=cursor)
    return show(said, as_json, _listed)


def _listed(said: Mapping[str, Any]) -> str:
    rows = [
        (g["jid"], g["subject"], g["participants"], g["admins"], g["source"])
        for g in said["groups"]
    ]
    head = ("group", "subject", "members", "admins", "from")
    text = table(head, rows) if rows else "there are no groups"
    return f"{text}\nmore: --cursor {said['next']}" if said["next"] else text


@groups.command("show")
@data_option
@json_option
@click.argument("jid")
def show_(data: Path, as_json: bool, jid: str) -> int:
    """Show one group with its members."""
    return show(Line(data).get("groups", jid), as_json, _shown)


def _shown(said: Mapping[str, Any]) -> str:
    rows = [(who, "admin" if who in said["admins"] else "") for who in said["participants"]]
    head = f"{said['jid']} {plain(said['subject'])!r}, from {said['source']}"
    return f"{head}\n\n{table(('member', ''), rows)}"


@groups.command("set")
@data_option
@json_option
@click.option("--subject", required=True, help="What it is called.")
@click.option("--member", "members", multiple=True, required=True, help="A member; repeat it.")
@click.option("--admin", "admins", multiple=True, help="A member who is admin; repeat it.")
@click.argument("jid")
def set_(
    data: Path,
    as_json: bool,
    subject: str,
    members: tuple[str, ...],
    admins: tuple[str, ...],
    jid: str,
) -> int:
    """Make group JID, or have it be as this says."""
    body = {"subject": subject, "participants": members, "admins": admins}
    return _put(data, as_json, jid, body)


@groups.command("add")
@data_option
@json_option
@click.argument("jid")
@click.argument("users", nargs=-1, required=True)
def add(data: Path, as_json: bool, jid: str, users: tuple[str, ...]) -> int:
    """Add USERS to group JID."""
    found = Line(data).get("groups", jid)
    members = [*found["participants"]]
    members += [who for who in map(_spelled, users) if who not in members]
    return _put(data, as_json, jid, _body(found, members))


@groups.command("remove")
@data_option
@json_option
@click.argument("jid")
@click.argument("users", nargs=-1, required=True)
def remove(data: Path, as_json: bool, jid: str, users: tuple[str, ...]) -> int:
    """Take USERS out of group JID."""
    found = Line(data).get("groups", jid)
    gone = set(map(_spelled, users))
    members = [who for who in found["participants"] if who not in gone]
    return _put(data, as_json, jid, _body(found, members))


@groups.command("delete")
@data_option
@json_option
@click.argument("jid")
def delete(data: Path, as_json: bool, jid: str) -> int:
    """Delete group JID; what waits of it for its members stays."""
    said = Line(data).send("DELETE", "groups", jid)
    words = f"{said['jid']}: {'deleted' if said['was_there'] else 'was not there'}"
    return _ended(said, as_json, words)


@groups.command("export")
@data_option
def export(data: Path) -> int:
    """Print all groups as a groups file."""
    found = msgspec.json.encode(Line(data).get("groups-file"))
    click.echo(msgspec.json.format(found, indent=2).decode())
    return 0


@groups.command("import")
@data_option
@json_option
@click.argument("file", type=click.Path(path_type=Path))
def import_(data: Path, as_json: bool, file: Path) -> int:
    """Make or change the groups of FILE, all or none; others stay."""
    try:
        content = msgspec.json.decode(file.read_bytes())
    except (OSError, msgspec.DecodeError) as error:
        raise NotAsked(f"{file} cannot be read: {error}") from None
    said = Line(data).send("PUT", "groups-file", body=content)
    return _ended(said, as_json, f"{said['groups']} groups are stored")


def _spelled(user: str) -> str:
    """Return a user as the API spells members."""
    return f"{user.partition('@')[0]}@c.us"


def _body(found: Mapping[str, Any], members: list[str]) -> dict[str, Any]:
    admins = [who for who in found["admins"] if who in members]
    return {"subject": found["subject"], "participants": members, "admins": admins}


def _put(data: Path, as_json: bool, jid: str, body: Mapping[str, Any]) -> int:
    said = Line(data).send("PUT", "groups", jid, body=body)
    return _ended(said, as_json, f"{jid}: {len(body['participants'])} members")


def _ended(said: Mapping[str, Any], as_json: bool, words: str) -> int:
    """Print what was done and whether it is in force; return the exit code."""
    operation = said["operation"] or {"state": "done", "detail": ""}
    state = operation["state"]
    if as_json:
        click.echo(msgspec.json.encode(said).decode())
    elif state == "done":
        click.echo(words)
    else:
        click.echo(f"{words}; stored, not in force yet: {plain(operation['detail'])}")
    return {"done": 0, "failed": _FAILED}.get(state, PARTLY)
