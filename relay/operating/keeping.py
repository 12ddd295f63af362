"""`relay purge`, and `relay backup NAME` and `relay check` of a relay that runs.

Each waits for the end of it. Exit codes are those of `relay.operating.steering`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from relay.operating.commands import data_option, json_option
from relay.operating.line import Line
from relay.operating.steering import ended, told, wait_option
from relay.operating.tables import plain

_AGE: Final = re.compile(r"(\d{1,9})([smhd])")
_NAME: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")  # as the API takes it
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# The bytes of messages, among the counts of what would go.
_SIZE: Final = "size"


@click.command()
@data_option
@json_option
@wait_option
@click.option("--older-than", "age", metavar="AGE", help="Of everybody, what waits longer: 7d.")
@click.option("--dry-run", is_flag=True, help="Count, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before it goes.")
@click.argument("jid", required=False)
def purge(
    data: Path,
    as_json: bool,
    wait_s: float,
    age: str | None,
    dry_run: bool,
    yes: bool,
    jid: str | None,
) -> int:
    """Throw away what waits for JID, or with --older-than what waits too long, for good.

    It is counted first, exactly, and you are asked. What is acked and thrown away does not arrive,
    and nobody is told. With JID repeats of messages to it are recognised no more; what JID has sent
    stays. `relay store purge DIR` does the same where no relay runs.
    """
    if (jid is None) == (age is None):
        raise click.UsageError("give either JID or --older-than")
    wanted: dict[str, Any] = {"user": jid} if jid else {"older_than_s": _seconds_in(age or "")}
    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("nobody can be asked here: --dry-run counts, --yes does it")
    if dry_run or not yes:
        said = _done(data, wait_s, wanted, dry_run=True)
        if dry_run or said["state"] != "done":
            return told(said, as_json)
        click.echo(plain(said["detail"]), err=True)
        if not any(count for name, count in said["counts"].items() if name != _SIZE):
            click.echo("so there is nothing to do", err=True)
            return 0
        if not click.confirm("Throw that away, for good?", err=True):
            click.echo("nothing was changed", err=True)
            return 1
    return told(_done(data, wait_s, wanted, dry_run=False), as_json)


def _done(data: Path, wait_s: float, wanted: dict[str, Any], *, dry_run: bool) -> Any:
    said = Line(data).send("POST", "purge", body={**wanted, "dry_run": dry_run})
    return ended(data, said, wait_s)


def _seconds_in(age: str) -> int:
    found = _AGE.fullmatch(age)
    if not found:
        raise click.UsageError(f"--older-than {age}: it is a number and a unit: 7d, 12h, 30m, 90s")
    return int(found[1]) * _UNITS_S[found[2]]


def back_up(data: Path, name: str, *, as_json: bool, wait_s: float) -> int:
    """Have a relay that runs make a backup in its `admin.backup_directory`."""
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"{name} is no name of a backup; to copy a directory, give TO")
    said = Line(data).send("POST", "backups", body={"name": name})
    return told(ended(data, said, wait_s), as_json)


def check(data: Path, *, as_json: bool, wait_s: float) -> int:
    """Have a relay that runs check its stores."""
    said = Line(data).send("POST", "check", body={})
    return told(ended(data, said, wait_s), as_json)
