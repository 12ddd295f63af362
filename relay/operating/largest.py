"""`relay mailboxes`: who fills the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from relay.operating.commands import data_option, json_option, show
from relay.operating.line import Line
from relay.operating.tables import table
from relay.words import size


@click.command()
@data_option
@json_option
@click.option(
    "--by",
    type=click.Choice(["bytes", "entries"]),
    default="bytes",
    help="What is most (default: bytes).",
)
@click.option("--limit", type=click.IntRange(1, 100), default=20, help="How many at most.")
@click.option(
    "--within",
    "within_s",
    metavar="SECONDS",
    type=click.FloatRange(0.1, 10),
    default=5.0,
    help="How long to look at most (default: 5).",
)
def mailboxes(data: Path, as_json: bool, by: str, limit: int, within_s: float) -> int:
    """Show for whom most waits, and of whom: who fills the disk.

    What waits of an author is about; messages to groups and receipts do not count there. `relay
    purge JID` throws away what waits for JID, `relay ban JID` keeps an author out.
    """
    said = Line(data).get("mailboxes", by=by, limit=limit, within_s=within_s)
    return show(said, as_json, _largest)


def _largest(said: Mapping[str, Any]) -> str:
    if not said["mailboxes"]:
        text = "nothing waits for anybody"
    else:
        rows = [
            (each["jid"], each["messages"], each["receipts"], size(each["size"]))
            for each in said["mailboxes"]
        ]
        text = table(("waits for", "messages", "receipts", "size"), rows)
    if said["authors"]:
        authors = [(each["jid"], each["messages"], size(each["size"])) for each in said["authors"]]
        text += "\n\n" + table(("waits of", "messages", "size"), authors)
    if said["more"]:
        text += f"\nof the first {said['looked_at']:,} mailboxes; --within looks for longer"
    return text
