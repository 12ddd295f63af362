"""A tool's work, in a process of its own: reading a damaged file may end it (SIGBUS, SIGSEGV).

The child ends with its parent, however that does. A socket joins them: the child says there how it
goes, and when the parent ends, or has nothing more to ask, that is an interrupt to the child. Then
the work undoes or says what it must, and if that takes too long the child ends all the same.

With `--followed` a program has started the tool, the admin of a relay. It hears how far the work is
on stderr, and its end as one line of JSON on stdout; when stdin ends, that is an interrupt.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import click
import lmdb
import msgspec

from relay.errors import BootError, DiskError, RelayError
from relay.invocation import INTERRUPTED
from workers.store.storefile import FILE_NAME
from workers.tools import progress
from workers.tools.report import Report

CLEAN: Final = 0
FAULTY: Final = 1
UNUSABLE: Final = 2

# The tools by the name that they have always had.
MODULE_NAME: Final = "python -m workers.store"

# What a user, a terminal that closes, or a service manager ends a tool with.
_INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Work that is interrupted ends within this; only a copy inside LMDB does not look up.
_END_S: Final = 5.0

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
    counts: dict[str, int] = {}  # what the note says, for programs
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
    """Do the work and tell how it ended; return the exit code.

    An interrupt is a KeyboardInterrupt in `work`, whatever signal it was. `work` may return what is
    to be said of it.
    """
    os.umask(0o077)
    root = context.find_root()
    who = "workers.store" if root.info_name == MODULE_NAME else context.command_path
    is_followed = bool(root.params.get("followed"))
    if is_followed:
        progress.hurry()
    try:
        ended = _do_apart(directory, work, who, ends_with_stdin=is_followed)
    except KeyboardInterrupt:
        return INTERRUPTED
    if is_followed:
        sys.stdout.buffer.write(_encode(ended) + b"\n")
        return ended.exit_code or (FAULTY if ended.report.total else CLEAN)
    if ended.error:
        _complain(who, ended)
        return ended.exit_code
    tell(ended)
    return FAULTY if ended.report.total else CLEAN


def interrupted(note: str = "") -> Ended:
    """Return the end of work that was interrupted; `note` says what is done."""
    return Ended(error=f"interrupted; {note}" if note else "interrupted", exit_code=INTERRUPTED)


def _complain(who: str, ended: Ended) -> None:
    sys.stderr.write(f"{who}: {ended.error}\n")


def _do_apart(
    directory: Path, work: Callable[[Say], Ended], who: str, *, ends_with_stdin: bool
) -> Ended:
    """Do the work in a process of its own: reading a damaged file may end it (SIGBUS, SIGSEGV)."""
    sys.stdout.flush()
    sys.stderr.flush()
    ours, childs = socket.socketpair()
    name = directory.name
    ended: Ended | None = None
    with ours, _let_go_by_interrupts(ours):
        child = os.fork()
        if child == 0:
            ours.close()
            _be_child(childs, work, who)
        childs.close()
        if ends_with_stdin:
            threading.Thread(target=_let_go_by_stdin, args=(ours,), daemon=True).start()
        with ours.makefile("rb") as lines:
            for line in lines:
                said = _decode(line)
                if isinstance(said, _Began):
                    name = said.name
                else:
                    ended = said
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended is None and code == INTERRUPTED:
        return interrupted()
    if ended is None and -code in _SIGNALS_OF_DAMAGE:
        ended = Ended(damage=signal.Signals(-code).name)
    if ended is None:
        how = f"exit code {code}, see above" if code >= 0 else f"signal {-code}"
        return Ended(error=f"reading {name} ended with {how}", exit_code=UNUSABLE)
    if ended.damage:
        problem = f"{FILE_NAME} is damaged: reading it ends with {ended.damage}"
        ended.report.add(name, "", "", problem)
    return ended


def _let_go_by_stdin(child: socket.socket) -> None:
    """Have the end of stdin end the child."""
    while os.read(0, 4096):
        pass
    with suppress(OSError):  # it has ended
        child.shutdown(socket.SHUT_WR)


@contextmanager
def _let_go_by_interrupts(child: socket.socket) -> Iterator[None]:
    """Have an interrupt end the child, and raise nothing here: what it says then is to be heard."""

    def let_go(number: int, frame: FrameType | None) -> None:
        with suppress(OSError):  # it has ended
            child.shutdown(socket.SHUT_WR)

    before = {each: signal.getsignal(each) for each in _INTERRUPTS}
    for each, handler in before.items():
        if handler is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(each, let_go)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


# --- the child ---


def _be_child(parent: socket.socket, work: Callable[[Say], Ended], who: str) -> NoReturn:
    code = 1
    try:
        _end_with(parent)

        def say(message: _Began | Ended) -> None:
            parent.sendall(_encode(message) + b"\n")

        def began(name: str) -> None:
            try:
                say(_Began(name))
            except BrokenPipeError:
                raise KeyboardInterrupt from None  # whoever follows it is about to say so, too

        ended = _child_end(work, began)
        try:
            say(ended)
            code = 0
        except BrokenPipeError:
            if ended.error:  # what else was found is of no use to anybody
                with suppress(OSError):
                    _complain(who, ended)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _end_with(parent: socket.socket) -> None:
    """Take the first interrupt, or the end of the parent, as an interrupt, and none after it.

    A second one would come amid what the first has to undo.
    """

    interrupts: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        if len(interrupts) == 1:
            raise KeyboardInterrupt

    for each in _INTERRUPTS:
        if each == signal.SIGTERM or signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, interrupt)
    main = threading.get_ident()

    def follow() -> None:
        with suppress(OSError):
            parent.recv(1)
        # To that thread, or it would sleep on.
        signal.pthread_kill(main, signal.SIGTERM)
        time.sleep(_END_S)
        os._exit(INTERRUPTED)

    threading.Thread(target=follow, daemon=True).start()


def _child_end(work: Callable[[Say], Ended], began: Say) -> Ended:
    try:
        return work(began)
    except KeyboardInterrupt:
        return interrupted()
    except (ToolRefused, BootError, DiskError) as error:
        return Ended(error=str(error), exit_code=UNUSABLE)
    except RelayError as error:
        return Ended(error=str(error), exit_code=FAULTY)
    except lmdb.Error as error:
        return Ended(damage=str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return Ended(error=f"{where}{error.strerror}", exit_code=UNUSABLE)
