"""`relay status`, `users`, `user` and `queue`: what runs, who is there, and what waits.

Each prints a table for people, or with --json what the API answers. Exit codes: 0 all was told, 1
the relay could not be asked or said no, 2 bad usage, 3 a part of it could not be asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.errors import NotAsked
from relay.operating.line import Line
from relay.operating.tables import plain, table, who
from relay.words import age, size

PARTLY: Final = 3
_NOBODY: Final = "nobody is connected"

data_option = click.option(
    "--data",
    "data",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path("data"),
    envvar="RELAY_DATA",
    help="Data directory of the relay (default: $RELAY_DATA, or ./data).",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print what the API answers, as JSON."
)


def show(said: Any, as_json: bool, words: Callable[[Any], str]) -> int:
    """Print an answer; return the exit code."""
    if as_json:
        click.echo(msgspec.json.encode(said).decode())
    else:
        click.echo(words(said))
        for silent in said.get("not_asked", ()):
            click.echo(f"not asked: {who(silent)}: {plain(silent['reason'])}", err=True)
    return PARTLY if said.get("not_asked") else 0


def ago(since_ms: int) -> str:
    """Return how long it is since then, in ms since 1970; 0 is never."""
    return age(max(0.0, time.time() - since_ms / 1000)) if since_ms else "-"


@click.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> int:
    """Show which processes run, and how each is; of several hosts, on this one.

    \b
    batch   decisions that a worker makes with one sync, on average
    link    how full a front's links are; at 1.00 it reads less from its clients
    lag     how long it took to answer this, in ms

    The line `disk` says how full the disk is. An hour after the start it says how fast it fills,
    too, and when it is full at that rate.
    """
    return show(Line(data).get("status"), as_json, _status)


def _name_of(process: Mapping[str, Any]) -> str:
    role: str = process["role"]
    return f"{role} {process['index']}" if role in ("front", "worker") else role


def _state_of(process: Mapping[str, Any]) -> str:
    if process["state"] == "T":
        return "stopped"
    return "standby" if process.get("standby") else str(process["version"])


def on_host(said: Mapping[str, Any]) -> str:
    """Return on which host of a cluster that is, behind a blank; nothing without one."""
    return f" on host {said['host']}" if said.get("host") else ""


def _status(said: Mapping[str, Any]) -> str:
    rows = [
        (
            _name_of(each),
            each["pid"],
            age(each["uptime_s"]),
            each["restarts"],
            f"{each['cpu_s']:.1f} s",
            size(each["memory_bytes"]),
            each["descriptors"],
            each["sessions"],
            each["mean_batch"],
            each["link_fill"],
            each["answered_in_ms"],
            _state_of(each),
        )
        for each in said["processes"]
    ]
    head = (
        *("process", "pid", "up", "restarts", "cpu", "memory", "files"),
        *("sessions", "batch", "link", "lag", "version"),
    )
    line = (
        f"relay {said['version']}{on_host(said)}, up {age(said['uptime_s'])}:"
        f" {said['sessions']} sessions, {said['queue_entries']} entries wait"
    )
    if said.get("disk"):  # an admin that is to be renewed tells none
        line += f"\ndisk: {said['disk']['says']}"
    if said["workers_wanted"]:
        line += f"\nfrom the next start on {said['workers_wanted']} workers"
    return f"{line}\n\n{table(head, rows)}"


@click.command()
@data_option
@json_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="How many at most.")
@click.option("--cursor", default="", help="Go on behind a page: what `next` said.")
@click.argument("prefix", default="")
def users(data: Path, as_json: bool, limit: int, cursor: str, prefix: str) -> int:
    """Show who is connected, all or whose name begins with PREFIX.

    \b
    stage   asked: logs in; queue: is sent what waited; live: gets what comes
    """
    said = Line(data).get("users", prefix=prefix, limit=limit, cursor=cursor)
    return show(said, as_json, _users)


def _front(session: Mapping[str, Any]) -> str:
    host = session.get("host", "")
    return f"{session['front']} of {host}" if host else str(session["front"])


def _users(said: Mapping[str, Any]) -> str:
    rows = [
        (u["jid"], u["address"], ago(u["since_ms"]), _front(u), u["stage"].lower())
        for u in said["users"]
    ]
    text = table(("user", "address", "since", "front", "stage"), rows) if rows else _NOBODY
    return f"{text}\nmore: --cursor {said['next']}" if said["next"] else text


@click.command()
@data_option
@json_option
@click.argument("jid")
def user(data: Path, as_json: bool, jid: str) -> int:
    """Show where JID is connected, and what waits for it, by author.

    \b
    live     it is sent all that comes; what waits nevertheless, it has not acked
    reading  it is being sent what waited
    paused   its client does not read
    starved  its front is busy

    The lines that begin with - say why it gets no messages, the gravest first.

    A name that nobody has ever used looks like one who is away.
    """
    return show(Line(data).get("users", jid), as_json, _user)


def _user(said: Mapping[str, Any]) -> str:
    limits = said["limits"]
    lines = [f"{said['jid']}, of worker {said['worker']}{on_host(said)}"]
    lines += [f"- {plain(each)}" for each in said.get("says", ())]
    lines += [
        f"connected from {plain(each['address'])} for {ago(each['since_ms'])}, front"
        f" {_front(each)}, {each['stage'].lower()}, reads: {said['reads'].lower() or '-'}"
        for each in said["sessions"]
    ] or ["not connected" if not said["reads"] else "connected; its front could not be asked"]
    messages, receipts = (
        "?" if said[name] is None else said[name]
        for name in ("waiting_messages", "waiting_receipts")
    )
    waits = f"waiting: {messages} messages, {size(said['waiting_bytes'])}, {receipts} receipts"
    if said["oldest_ms"]:
        waits += f", the oldest for {ago(said['oldest_ms'])}"
    lines.append(waits)
    lines.append(
        f"limits: {limits['mailbox_entries']} entries, {size(limits['mailbox_bytes'])} may wait;"
        f" of its own some {limits['sent_waiting_messages']} of {limits['quota_messages']}"
        " messages wait for others"
    )
    if said["authors"]:
        rows = [(a["author"], a["messages"], size(a["size"])) for a in said["authors"]]
        lines += ["", table(("author", "messages", "size"), rows)]
    return "\n".join(lines)


@click.command()
@data_option
@json_option
@click.option("--limit", type=click.IntRange(1, 500), default=100, help="How many at most.")
@click.option("--after", type=click.IntRange(0), default=0, help="Go on behind that entry.")
@click.option("--texts", is_flag=True, help="With what people have written; needs --token-file.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file with a token that may `texts` (admin.token_file says which may).",
)
@click.argument("jid")
def queue(
    data: Path,
    as_json: bool,
    limit: int,
    after: int,
    texts: bool,
    token_file: Path | None,
    jid: str,
) -> int:
    """Show what waits for JID, in order."""
    token = token_in(token_file) if token_file is not None else ""
    said = Line(data, token).get("users", jid, "queue", limit=limit, after=after, texts=texts)
    return show(said, as_json, _queue)


def _queue(said: Mapping[str, Any]) -> str:
    head = ["entry", "kind", "id", "from", "group", "waits", "size"]
    has_texts = any(each["message"] is not None for each in said["entries"])
    rows = []
    for each in said["entries"]:
        row = [
            *(each["seq"], each["kind"], each["id"], each["author"], each["group"]),
            *(ago(each["queued_ms"]), size(each["size"])),
        ]
        if has_texts:
            row.append(msgspec.json.encode(each["message"]).decode())
        rows.append(row)
    text = table([*head, "message"] if has_texts else head, rows) if rows else "nothing waits"
    return f"{text}\nmore: --after {said['next']}" if said["next"] else text


def token_in(path: Path) -> str:
    """Return the token of a file.

    Raises:
        NotAsked: it has none, or cannot be read.
    """
    try:
        return path.read_text().split()[0]
    except (OSError, IndexError, UnicodeDecodeError) as error:
        raise NotAsked(f"{path} has no token: {error}") from None
