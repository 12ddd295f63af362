"""`python -m workers.store`: the operator's tools for a data directory, be its relay up or down."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec

from relay.disk.layout import Layout, meta_path, read_layout
from relay.invocation import invoke
from relay.operating import keeping
from relay.operating.commands import data_option
from relay.operating.steering import wait_option
from workers.store.storefile import FILE_NAME
from workers.tools.apart import MODULE_NAME, Ended, Say, ToolRefused, interrupted, run
from workers.tools.backup import back_up, copy_files, discard, finish
from workers.tools.check import check_store
from workers.tools.report import Report
from workers.tools.storecommand import compact, purge
from workers.tools.stores import check_all, directories_of, opened

_EPILOG: Final = """\
\b
exit codes:
  0 done, nothing is wrong   1 something is wrong with the data
  2 bad usage, or {paths} cannot be used   130 interrupted
"""

HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_PATH: Final = click.Path(path_type=Path)


@click.command(
    short_help="verify that every index agrees with every other", epilog=_EPILOG.format(paths="DIR")
)
@click.argument("directory", metavar="[DIR]", type=_PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@data_option
@wait_option
@click.pass_context
def check(
    context: click.Context, directory: Path | None, as_json: bool, data: Path, wait_s: float
) -> int:
    """Verify that every index, count and reference in DIR agrees with every other.

    Nothing is changed. DIR is a data directory, or the directory of one worker's store in it. The
    relay may run: it is not held up, but what it frees meanwhile takes disk space until the check
    is over. Without DIR the relay that runs on --data is asked to do it; of several hosts each has
    stores of its own.
    """
    if directory is None:
        return keeping.check(data, as_json=as_json, wait_s=wait_s)

    def tell(ended: Ended) -> None:
        lines = [_as_json(ended.report)] if as_json else _as_text(directory, ended.report)
        sys.stdout.writelines(f"{line}\n" for line in lines)

    return run(context, directory, lambda began: _check(directory, began), tell)


@click.command(
    short_help="copy a data directory consistently", epilog=_EPILOG.format(paths="DIR or TO")
)
@click.argument("directory", metavar="DIR|NAME", type=_PATH)
@click.argument("to", metavar="[TO]", type=_PATH, required=False)
@click.option("--json", "as_json", is_flag=True, help="of NAME: print what the API answers")
@data_option
@wait_option
@click.pass_context
def backup(
    context: click.Context,
    directory: Path,
    to: Path | None,
    as_json: bool,
    data: Path,
    wait_s: float,
) -> int:
    """Copy the data directory DIR to TO, which must be missing or empty and outside DIR, and check
    the copy.

    With NAME alone the relay that runs on --data is asked to do it. The copy is then of that name
    in the directory that `admin.backup_directory` says.

    The relay may run: it is not held up, but what it frees meanwhile takes disk space until the
    copy is complete.

    The stores of all workers are copied as of one moment: whatever was acked before the backup
    began is in it. What the relay did later is not: messages that have been delivered since are
    delivered again, and whoever sends one again is not recognised. To restore: stop the relay, move
    DIR away whole, put a copy of TO in its place. Never restore the store of one worker alone: the
    others have forgotten what it had stored for them.
    """
    if to is None:
        return keeping.back_up(data, str(directory), as_json=as_json, wait_s=wait_s)

    def tell(ended: Ended) -> None:
        lines = [*_as_text(to, ended.report), *([ended.note] if ended.note else [])]
        sys.stdout.writelines(f"{line}\n" for line in lines)

    return run(context, directory, lambda began: _back_up(directory, to, began), tell)


@click.group(
    context_settings=HELP_OPTIONS,
    epilog=_EPILOG.format(paths="a directory"),
    no_args_is_help=False,
    subcommand_metavar="check | backup | compact | purge ...",
)
@click.option("--followed", is_flag=True, hidden=True)  # workers.tools.apart
def tools(followed: bool) -> None:
    """Verify, copy, compact or purge the data directory of a relay."""


tools.add_command(check)
tools.add_command(backup)
tools.add_command(compact)
tools.add_command(purge)


def main(argv: list[str]) -> int:
    """Run the tool that `argv` names and return its exit code."""
    return invoke(tools, argv, name=MODULE_NAME)


# --- the tools ---


def _check(directory: Path, began: Say) -> Ended:
    report = Report()
    if not meta_path(directory).exists() and (directory / FILE_NAME).exists():
        began(directory.name)
        with opened({0: directory}, report) as snapshots:
            for snapshot in snapshots.values():
                check_store(directory.name, snapshot, report)
    else:
        check_all(directory, _layout(directory), report, began)
    return Ended(report)


def _back_up(data: Path, to: Path, began: Say) -> Ended:
    layout = _layout(data)
    if to.resolve().is_relative_to(data.resolve()):
        raise ToolRefused(f"{to} is inside {data}: a backup is for when that is lost")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ToolRefused(f"{to} is not an empty directory")
    report = Report()
    try:
        written = _copy(data, layout, to)
        check_all(to, layout, report, lambda name: began(f"the copy of {name}"))
        copy_files(data, to)
        finish(layout, to)
    except KeyboardInterrupt:
        discard(layout, to)
        return interrupted(f"{to} holds no backup")
    note = f"{to} is a copy of {_counted(layout.workers, 'store')}, {written:,} bytes"
    if report.total:
        note += ", with all that is wrong with them"
    return Ended(report, note, {"bytes": written})


def _copy(data: Path, layout: Layout, to: Path) -> int:
    damage = Report()
    with opened(directories_of(data, layout), damage) as snapshots:
        if any(snapshot.follows_log for snapshot in snapshots.values()):
            raise ToolRefused(
                f"{data} is of a host of a cluster, which has a part of it alone: `relay cluster"
                " backup` copies all of it"
            )
        if damage.total:
            raise ToolRefused(f"a store of {data} cannot be copied: {damage.findings[0]}")
        return back_up(snapshots, layout, to)


def _layout(data: Path) -> Layout:
    if not meta_path(data).exists() and not any(data.glob("gen-*")):
        raise ToolRefused(f"{data} is no data directory: there is no meta.json in it")
    return read_layout(data)


# --- output ---


def _as_json(report: Report) -> str:
    return msgspec.json.encode(
        {
            "clean": not report.total,
            "stores": report.stores,
            "items": report.items,
            "findings_total": report.total,
            "findings": report.findings,
        }
    ).decode()


def _as_text(directory: Path, report: Report) -> Iterator[str]:
    yield from map(str, report.findings)
    if report.total > len(report.findings):
        yield f"... and {report.total - len(report.findings):,} more"
    verdict = _counted(report.total, "finding") if report.total else "nothing is wrong"
    stores, items = _counted(report.stores, "store"), _counted(report.items, "item")
    yield f"{directory}: {stores}, {items}: {verdict}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
