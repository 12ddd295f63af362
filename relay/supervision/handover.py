"""What a supervisor hands to its successor: the same process, and another program in it.

Its children stay its children, and its locks, sockets and memos stay open. What is written down
here is how to find them. The successor may be of a newer version: a field that is added has a
default.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import msgspec

from relay.auth.modes import authenticator_of
from relay.disk.accord import Origin
from relay.disk.groupfile import unpack_groups
from relay.disk.layout import read_layout
from relay.errors import BootError
from relay.extensions.registry import load
from relay.process.memo import read_memo, write_memo
from relay.settings.tables import Settings
from relay.supervision.child import IN_CLUSTERS, MODULES
from relay.supervision.claims import ClaimsHeld
from relay.supervision.events import TookOver
from relay.supervision.program import OWN, REHEARSE, TAKE_OVER


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """All of it; numbers are descriptors."""

    claims: ClaimsHeld
    settings: Settings  # as they were asked for
    host: str
    port: int
    groups: int
    keys: int | None = None
    accord: Origin | None = None  # the one that holds here
    channels: dict[int, int]  # by the incarnation of a child
    stacks: dict[int, int]  # the same
    fleet: TookOver
    minds_terminal: bool

    @property
    def descriptors(self) -> Iterator[int]:
        """All that must stay open."""
        yield from self.claims.descriptors
        yield from self.channels.values()
        yield from self.stacks.values()
        yield self.groups
        if self.keys is not None:
            yield self.keys


def write_handover(handover: Handover) -> int:
    """Return the descriptor of a memo of it.

    Raises:
        OSError: there is no memory or no descriptor for it.
    """
    return write_memo("handover", msgspec.json.encode(handover))


def read_handover(fd: int) -> Handover:
    """Return what a predecessor has written, and close it.

    Raises:
        BootError: this version cannot take it over.
    """
    try:
        return msgspec.json.decode(read_memo(fd), type=Handover)
    except msgspec.MsgspecError as error:
        raise BootError(f"what runs cannot be taken over by this version: {error}") from None
    finally:
        os.close(fd)


def keep_open(handover: Handover, *, keeps: bool) -> None:
    """Have the descriptors stay open in the program that is executed next, or not."""
    for fd in handover.descriptors:
        os.set_inheritable(fd, keeps)


def execute(handover: Handover) -> NoReturn:
    """Become the program that is in place now, which is given the handover.

    Raises:
        OSError: that cannot be; this program goes on.
    """
    memo = write_handover(handover)
    os.set_inheritable(memo, True)
    keep_open(handover, keeps=True)
    before = os.getcwd()
    try:
        os.chdir(OWN.directory)
        command = OWN.again(TAKE_OVER, memo)
        os.execv(command[0], command)  # noqa: S606  # our own program
    except OSError:
        os.chdir(before)
        keep_open(handover, keeps=False)
        os.close(memo)
        raise


class Rehearsal:
    """A process of the code that is in place, which does what `rehearse` says and ends.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, handover: Handover) -> None:
        memo = write_handover(handover)
        self._said = os.memfd_create("relay-rehearsal")
        self._gave_up = False
        try:
            self.process = subprocess.Popen(  # noqa: S603
                OWN.again(REHEARSE, memo),
                cwd=OWN.directory,
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                pass_fds=(memo, handover.groups),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._said)
            raise
        finally:
            os.close(memo)

    def give_up(self) -> None:
        """Kill it if it has not ended."""
        if self.process.returncode is None:
            self._gave_up = True
            self.process.kill()

    def end(self) -> str:
        """Return in a line what is wrong with the code, "" if nothing; it must have exited."""
        code = self.process.wait()
        lines = read_memo(self._said).decode(errors="replace").split("\n")
        os.close(self._said)
        if code == 0:
            return ""
        if self._gave_up:
            return "the code in place does not get ready in time"
        last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit {code}")
        return f"the code in place cannot take over: {last}"


def rehearse(handover: Handover) -> None:
    """Do what the processes of this version do before they take anything over.

    Raises:
        BootError: a module cannot be imported, or the data directory is not for this version.
        SettingsError: its extensions cannot be loaded, or the keys of its logins are unusable.
    """
    for role, module in MODULES.items():
        if role in IN_CLUSTERS and not handover.settings.cluster.is_on:
            continue
        try:
            is_package = bool((spec := find_spec(module)) and spec.submodule_search_locations)
            import_module(f"{module}.__main__" if is_package else module)
        except Exception as error:
            kind = type(error).__name__
            raise BootError(f"{module} cannot be imported: {kind}: {error}") from error
    load(tuple(handover.settings.server.extensions))
    authenticator_of(handover.settings)
    unpack_groups(read_memo(handover.groups))
    read_layout(Path(handover.claims.data))
