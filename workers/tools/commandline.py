"""`python -m workers.store`: the operator's tools for a data directory, be its relay up or down."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from relay.disk.layout import Layout, meta_path, read_layout
from relay.errors import BootError, DiskError, RelayError, StoreDamaged, StoreForeign
from relay.invocation import INTERRUPTED, invoke
from workers.store.moment import pin
from workers.store.snapshot import Snapshot
from workers.store.storefile import FILE_NAME
from workers.tools.backup import back_up, finish
from workers.tools.check import check_store, check_stores
from workers.tools.report import Report

CLEAN: Final = 0
FAULTY: Final = 1
UNUSABLE: Final = 2

# What reading a damaged file may end with.
_SIGNALS_OF_DAMAGE: Final = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE)

EPILOG: Final = """\
\b
exit codes:
  0 done, nothing is wrong   1 something is wrong with the data   2 bad usage, or DIR or TO cannot
  be used
"""

HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_PATH: Final = click.Path(path_type=Path)


class ToolRefused(RelayError):
    """The tool cannot do what it is asked for here."""


class _Began(msgspec.Struct, frozen=True, tag=True):
    """The child begins to read the store `name`."""

    name: str


class _Ended(msgspec.Struct, frozen=True, tag=True):
    """What the child has to say at its end: a report, or why there is none."""

    report: Report = msgspec.field(default_factory=Report)
    note: str = ""
    error: str = ""
    exit_code: int = CLEAN


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Began | _Ended).decode

_Say = Callable[[str], None]


@click.command(short_help="verify that every index agrees with every other", epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
@click.pass_context
def check(context: click.Context, directory: Path, as_json: bool) -> int:
    """Verify that every index, count and reference in DIR agrees with every other.

    Nothing is changed. DIR is a data directory, or the directory of one worker's store in it. The
    relay may run: it is not held up, but what it frees meanwhile takes disk space until the check
    is over.
    """

    def tell(ended: _Ended) -> None:
        lines = [_as_json(ended.report)] if as_json else _as_text(directory, ended.report)
        sys.stdout.writelines(f"{line}\n" for line in lines)

    return _run(context, directory, lambda began: _check(directory, began), tell)


@click.command(short_help="copy a data directory consistently", epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=_PATH)
@click.argument("to", metavar="TO", type=_PATH)
@click.pass_context
def backup(context: click.Context, directory: Path, to: Path) -> int:
    """Copy the data directory DIR to TO, which must be missing or empty, and check the copy.

    The relay may run: it is not held up, but what it frees meanwhile takes disk space until the
    copy is complete.

    The stores of all workers are copied as of one moment: whatever was acked before the backup
    began is in it. What the relay did later is not: messages that have been delivered since are
    delivered again, and whoever sends one again is not recognised. To restore: stop the relay, move
    DIR away whole, put a copy of TO in its place. Never restore the store of one worker alone: the
    others have forgotten what it had stored for them.
    """

    def tell(ended: _Ended) -> None:
        lines = [*_as_text(to, ended.report), *([ended.note] if ended.note else [])]
        sys.stdout.writelines(f"{line}\n" for line in lines)

    return _run(context, directory, lambda began: _back_up(directory, to, began), tell)


@click.group(
    context_settings=HELP_OPTIONS,
    epilog=EPILOG,
    no_args_is_help=False,
    subcommand_metavar="check | backup ...",
)
def tools() -> None:
    """Verify or copy the data directory of a relay, be it up or down."""


tools.add_command(check)
tools.add_command(backup)


def main(argv: list[str]) -> int:
    """Run the tool that `argv` names and return its exit code."""
    return invoke(tools, argv, name="python -m workers.store")


def _run(
    context: click.Context,
    directory: Path,
    work: Callable[[_Say], _Ended],
    tell: Callable[[_Ended], None],
) -> int:
    """Do the work and tell how it ended; return the exit code."""
    os.umask(0o077)
    try:
        ended = _apart(directory, work)
    except KeyboardInterrupt:
        return INTERRUPTED
    if ended.error:
        who = "workers.store" if context.find_root().command is tools else context.command_path
        sys.stderr.write(f"{who}: {ended.error}\n")
        return ended.exit_code
    tell(ended)
    return FAULTY if ended.report.total else CLEAN


# --- the tools ---


def _check(directory: Path, began: _Say) -> _Ended:
    report = Report()
    if not meta_path(directory).exists() and (directory / FILE_NAME).exists():
        began(directory.name)
        with _opened({0: directory}, report) as snapshots:
            for snapshot in snapshots.values():
                check_store(directory.name, snapshot, report)
    else:
        _check_all(directory, _layout(directory), report, began)
    return _Ended(report)


def _check_all(data: Path, layout: Layout, report: Report, began: _Say) -> None:
    with _opened(_directories(data, layout), report) as snapshots:
        pin(snapshots)
        check_stores(
            snapshots,
            report,
            generation=layout.generation,
            workers=layout.workers,
            began=began,
        )


def _back_up(data: Path, to: Path, began: _Say) -> _Ended:
    layout = _layout(data)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ToolRefused(f"{to} is not an empty directory")
    damage = Report()
    with _opened(_directories(data, layout), damage) as snapshots:
        if damage.total:
            raise ToolRefused(f"a store of {data} cannot be copied: {damage.findings[0]}")
        written = back_up(snapshots, layout, to)
    report = Report()
    _check_all_of_copy(to, layout, report, began)
    finish(layout, to)
    note = f"{to} is a copy of {layout.workers} stores, {written:,} bytes"
    if report.total:
        note += ", with all that is wrong with them"
    return _Ended(report, note)


def _check_all_of_copy(to: Path, layout: Layout, report: Report, began: _Say) -> None:
    _check_all(to, layout, report, lambda name: began(f"the copy of {name}"))


def _layout(data: Path) -> Layout:
    if not meta_path(data).exists() and not any(data.glob("gen-*")):
        raise ToolRefused(f"{data} is no data directory: there is no meta.json in it")
    return read_layout(data)


def _directories(data: Path, layout: Layout) -> dict[int, Path]:
    return {index: layout.store_directory(data, index) for index in range(layout.workers)}


@contextmanager
def _opened(directories: dict[int, Path], report: Report) -> Iterator[dict[int, Snapshot]]:
    """Open the stores; those that are damaged or missing are findings instead."""
    snapshots: dict[int, Snapshot] = {}
    try:
        for index, directory in directories.items():
            try:
                snapshots[index] = Snapshot(directory)
            except StoreForeign as error:
                report.add(directory.name, "", "", f"{FILE_NAME} is of another format: {error}")
            except StoreDamaged as error:
                report.add(directory.name, "", "", f"{FILE_NAME} is no whole store: {error}")
            except FileNotFoundError:
                report.add(directory.name, "", "", f"{FILE_NAME} is missing")
            except OSError as error:
                raise ToolRefused(f"{directory} cannot be read: {error.strerror}") from None
        yield snapshots
    finally:
        for snapshot in snapshots.values():
            snapshot.close()


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


# --- the child ---


def _apart(directory: Path, work: Callable[[_Say], _Ended]) -> _Ended:
    """Do the work in a process of its own: reading a damaged file may end it (SIGBUS, SIGSEGV)."""
    sys.stdout.flush()
    sys.stderr.flush()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_child(writer, work)
    os.close(writer)
    name = directory.name
    ended: _Ended | None = None
    with open(reader, "rb") as pipe:
        for line in pipe:
            said = _decode(line)
            if isinstance(said, _Began):
                name = said.name
            else:
                ended = said
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended is not None:
        return ended
    if -code not in _SIGNALS_OF_DAMAGE:
        how = f"exit code {code}, see above" if code >= 0 else f"signal {-code}"
        return _Ended(error=f"reading {name} ended with {how}", exit_code=UNUSABLE)
    fault = signal.Signals(-code).name
    report = Report()
    report.add(name, "", "", f"{FILE_NAME} is damaged: reading it ends with {fault}")
    return _Ended(report)


def _be_child(writer: int, work: Callable[[_Say], _Ended]) -> None:
    code = 1
    try:
        with open(writer, "wb", buffering=0) as pipe:

            def say(message: _Began | _Ended) -> None:
                pipe.write(_encode(message) + b"\n")

            say(_child_end(work, lambda name: say(_Began(name))))
        code = 0
    except KeyboardInterrupt:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _child_end(work: Callable[[_Say], _Ended], began: _Say) -> _Ended:
    try:
        return work(began)
    except (ToolRefused, BootError, DiskError) as error:
        return _Ended(error=str(error), exit_code=UNUSABLE)
    except RelayError as error:
        return _Ended(error=str(error), exit_code=FAULTY)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _Ended(error=f"{where}{error.strerror}", exit_code=UNUSABLE)
