"""Some hosts together, from the first to the last process on them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from .disk import Disk
from .host import Host
from .network import HostsUnavailable, Network, attempt, run

_PREFIX: Final = "hosts-"


@contextmanager
def hosts(names: str = "abc", *, disks: bool = False) -> Iterator[dict[str, Host]]:
    """Give a host for each letter of `names`, on one network; with `disks` each has one.

    Whatever happens, nothing of them is left.

    Raises:
        HostsUnavailable: that cannot be here; the message says why.
    """
    with ExitStack() as stack:
        _sweep()
        # Short: ipc sockets lie below it.
        directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        if disks:
            stack.enter_context(_mounts_below(directory))
        network = stack.enter_context(Network(names))
        found = {}
        for name in names:
            own = directory / name
            own.mkdir()
            disk = stack.enter_context(Disk(own)) if disks else None
            found[name] = Host(name, network, own, disk)
            stack.callback(found[name].kill)
        yield found


@contextmanager
def _mounts_below(directory: Path) -> Iterator[None]:
    """Have what is unmounted there be unmounted everywhere.

    Whoever else begins a process by `ip netns exec` meanwhile gives it copies of all mounts. As
    long as there is one a file system lives, and has no power however often it is mounted.
    """
    run("mount", "--bind", str(directory), str(directory))
    try:
        run("mount", "--make-shared", str(directory))
        yield
    finally:
        attempt("umount", "--lazy", str(directory))


def _sweep() -> None:
    """Remove the directories and disks of tests that are no more."""
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        pid = directory.name.removeprefix(_PREFIX).split("-")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            for disk in directory.glob("*/disk"):
                attempt("umount", "--lazy", str(disk))
            attempt("umount", "--lazy", str(directory))
            shutil.rmtree(directory, ignore_errors=True)


def why_none() -> str:
    """Return why there can be no hosts here, empty where there can."""
    try:
        with hosts("a", disks=True):
            return ""
    except HostsUnavailable as error:
        return str(error)
