"""A tool's work, in a process of its own: reading a damaged file may end it (SIGBUS, SIGSEGV)."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import lmdb
import msgspec

from relay.errors import BootError, DiskError, RelayError
from relay.invocation import INTERRUPTED
from workers.store.storefile import FILE_NAME
from workers.tools.report import Report

CLEAN: Final = 0
FAULTY: Final = 1
UNUSABLE: Final = 2

# The tools by the name that they have always had.
MODULE_NAME: Final = "python -m workers.store"

# What reading a damaged file may end with.
_SIGNALS_OF_DAMAGE: Final = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE)


class ToolRefused(RelayError):
    """The tool cannot do what it is asked for here."""


class _Began(msgspec.Struct, frozen=True, tag=True):
    """The child begins to read the store `name`."""

    name: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """What the child has to say at its end: a report, or why there is none."""

    report: Report = msgspec.field(default_factory=Report)
    note: str = ""
    damage: str = ""  # how reading the store that was begun last has ended
    error: str = ""
    exit_code: int = CLEAN


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Began | Ended).decode

Say = Callable[[str], None]


def run(
    context: click.Context,
    directory: Path,
    work: Callable[[Say], Ended],
    tell: Callable[[Ended], None],
) -> int:
    """Do the work and tell how it ended; return the exit code."""
    os.umask(0o077)
    try:
        ended = _do_apart(directory, work)
    except KeyboardInterrupt:
        return INTERRUPTED
    if ended.error:
        root = context.find_root()
        who = "workers.store" if root.info_name == MODULE_NAME else context.command_path
        sys.stderr.write(f"{who}: {ended.error}\n")
        return ended.exit_code
    tell(ended)
    return FAULTY if ended.report.total else CLEAN


def _do_apart(directory: Path, work: Callable[[Say], Ended]) -> Ended:
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
    ended: Ended | None = None
    with open(reader, "rb") as pipe:
        for line in pipe:
            said = _decode(line)
            if isinstance(said, _Began):
                name = said.name
            else:
                ended = said
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended is None and -code in _SIGNALS_OF_DAMAGE:
        ended = Ended(damage=signal.Signals(-code).name)
    if ended is None:
        how = f"exit code {code}, see above" if code >= 0 else f"signal {-code}"
        return Ended(error=f"reading {name} ended with {how}", exit_code=UNUSABLE)
    if ended.damage:
        problem = f"{FILE_NAME} is damaged: reading it ends with {ended.damage}"
        ended.report.add(name, "", "", problem)
    return ended


def _be_child(writer: int, work: Callable[[Say], Ended]) -> None:
    code = 1
    try:
        with open(writer, "wb", buffering=0) as pipe:

            def say(message: _Began | Ended) -> None:
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


def _child_end(work: Callable[[Say], Ended], began: Say) -> Ended:
    try:
        return work(began)
    except (ToolRefused, BootError, DiskError) as error:
        return Ended(error=str(error), exit_code=UNUSABLE)
    except RelayError as error:
        return Ended(error=str(error), exit_code=FAULTY)
    except lmdb.Error as error:
        return Ended(damage=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Ended(error=f"{where}{error.strerror}", exit_code=UNUSABLE)
