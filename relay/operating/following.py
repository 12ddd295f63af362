"""`relay trace` and `relay message`: what becomes of a user's frames, and of one message.

Exit codes are those of `relay.operating.commands`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.errors import NotAsked
from relay.operating.commands import PARTLY, data_option, json_option, show, token_in
from relay.operating.line import Line
from relay.operating.tables import plain, who
from relay.words import age

# Between two questions: processes go on noting for ten seconds behind the last.
_EVERY_S: Final = 0.5
# So long a relay may be gone, as its admin is that dies, before that is the end.
_PATIENCE_S: Final = 15.0
_LEVELS: Final = {1: "stored", 2: "delivered", 3: "read", 4: "played, or kept from who blocks him"}


@click.command()
@data_option
@json_option
@click.option(
    "--for",
    "seconds",
    default="60s",
    metavar="TIME",
    help="How long: 30s, 10m, 1h (default: 60s). Ctrl-C ends it sooner.",
)
@click.option("--texts", is_flag=True, help="With the frames; needs --token-file.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="A file with a token that may `texts` (admin.token_file says which may).",
)
@click.argument("jid")
def trace(
    data: Path, as_json: bool, seconds: str, texts: bool, token_file: Path | None, jid: str
) -> int:
    """Show what becomes of JID's frames, as it happens, in each process that they pass.

    \b
    read, written     a front: a frame from the client, a frame to it
    taken, sent       a worker: from a front or a worker, to a front or a worker
    stored, refused   a worker: what it has decided on a message, once that is on the disk
    +1.2 ms           since the line before of the same message

    With --json one object a line. Texts are shown only with --texts.
    """
    length_s = _seconds_in(seconds)
    line = Line(data, token_in(token_file) if token_file is not None else "")
    last_us: dict[str, int] = {}
    silent: set[str] = set()
    said: dict[str, Any] = {"cursor": ""}
    ends_s = time.monotonic() + length_s
    heard_s = time.monotonic()
    try:
        while True:
            try:
                said = line.get("users", jid, "trace", cursor=said["cursor"], texts=texts)
                heard_s = time.monotonic()
            except NotAsked as error:
                # The first answer tells whether it can be; later the admin may be starting again.
                if not said["cursor"] or time.monotonic() - heard_s > _PATIENCE_S:
                    raise
                _tell_once(silent, f"the relay does not answer, asking on: {error}")
            else:
                for text in _lines(said, last_us, as_json=as_json):
                    click.echo(text)
                now_silent = {
                    f"not asked: {who(each)}: {plain(each['reason'])}" for each in said["not_asked"]
                }
                for text in now_silent - silent:
                    click.echo(text, err=True)
                silent = now_silent
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                break
            time.sleep(min(_EVERY_S, left_s))
    except KeyboardInterrupt:
        pass
    return PARTLY if silent else 0


def _tell_once(told: set[str], text: str) -> None:
    if text not in told:
        told.add(text)
        click.echo(text, err=True)


def _seconds_in(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        found = float(number)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e6:
        raise click.BadParameter(f"{text} is no time such as 30s, 10m or 1h", param_hint="--for")
    return found * unit


def _lines(said: Mapping[str, Any], last_us: dict[str, int], *, as_json: bool) -> Iterator[str]:
    for gap in said["gaps"]:
        if as_json:
            yield msgspec.json.encode({"gap": gap}).decode()
        else:
            yield f"{_clock(gap['until_us'])}  {who(gap):<10} a gap until here: {gap['reason']}"
    for event in said["events"]:
        if as_json:
            yield msgspec.json.encode(event).decode()
        else:
            yield _line(event, last_us)


def _line(event: Mapping[str, Any], last_us: dict[str, int]) -> str:
    first = event["ids"][0] if event["ids"] else ""
    since = ""
    if first:
        before_us = last_us.pop(first, None)
        if before_us is not None:
            since = f"+{(event['at_us'] - before_us) / 1000:.1f} ms"
        last_us[first] = event["at_us"]
        while len(last_us) > 10_000:
            del last_us[next(iter(last_us))]
    ids = " ".join(map(plain, event["ids"][:3]))
    others = len(event["ids"]) - 3 + event["more_ids"]
    words = [
        event["kind"],
        ids,
        f"and {others} more" if others > 0 else "",
        f"({event['peer']})" if event["peer"] else "",
        plain(event["detail"]),
        f"{event['size']} B" if event["size"] else "",
        "" if event["text"] is None else plain(event["text"]),
    ]
    what = f"{event['what']:<9} {' '.join(filter(None, map(str, words)))}"
    return f"{_clock(event['at_us'])}  {since:>10}  {who(event):<10} {what}"


def _clock(at_us: int) -> str:
    seconds, rest = divmod(at_us, 1_000_000)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest:06d}"[:4]


@click.command()
@data_option
@json_option
@click.option("--of", default="", metavar="JID", help="Only what JID has sent or is to get.")
@click.argument("id")
def message(data: Path, as_json: bool, of: str, id: str) -> int:
    """Show what became of the message ID: why is it late?

    It is known while it waits, and for as long as a repeat of it would be recognised.
    """
    return show(Line(data).get("message", id=id, of=of), as_json, _message)


def _message(said: Mapping[str, Any]) -> str:
    lines = []
    for each in said["copies"]:
        to = each["recipient"] or each["group"]
        where = f" in {each['group']}" if each["recipient"] and each["group"] else ""
        lines.append(
            f"{_when(each['stored_us'])}  from {each['author']} to {to}{where}:"
            f" stored at worker {each['worker']}{_became(each)}"
        )
    lines += (
        f"{_when(each['since_us'])}  {each['kind']} waits at worker {each['from_worker']} for"
        f" worker {each['to_worker']}, which has not stored it for {_ago_us(each['since_us'])}"
        for each in said["passing"]
    )
    for each in said["receipts"]:
        why = _reading(each["author_reads"], "its author").replace("acked it", "confirmed it")
        level = _LEVELS.get(each["level"], str(each["level"]))
        lines.append(
            f"{_when(each['since_us'])}  receipt of {each['acker']} ({level}) waits for"
            f" {each['author']} for {_ago_us(each['since_us'])}: {why}"
        )
    if said["more"]:
        lines.append("there is more of this id than is told")
    return "\n".join(lines) if lines else "nothing is known of it at those who were asked"


def _became(copy: Mapping[str, Any]) -> str:
    if copy["recipient"] is None:
        return ", and passed on to its members"
    if copy["waits"]:
        why = _reading(copy["recipient_reads"], "its recipient")
        return f", waits for {_ago_us(copy['stored_us'])}: {why}"
    if copy["level"] > 1:
        return f", {_LEVELS.get(copy['level'], copy['level'])}"
    return ", and removed without an ack: its mailbox was full, it was too old, or purged"


def _reading(reads: str, who: str) -> str:
    return {
        "": f"{who} is not connected",
        "LIVE": f"{who} is connected, was sent it, and has not acked it",
        "READING": f"{who} is connected, and is being sent what waits",
        "PAUSED": f"{who} is connected, and does not read what it is sent",
        "STARVED": f"{who} is connected, and its front is behind",
    }.get(reads, reads)


def _when(at_us: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_us // 1_000_000)) + (
        f".{at_us // 1000 % 1000:03d}"
    )


def _ago_us(at_us: int) -> str:
    return age(max(0.0, time.time() - at_us / 1e6))
