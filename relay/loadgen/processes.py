"""What processes cost: CPU time, context switches and memory, of a server's and of our own.

Linux only, as it reads /proc: psutil counts context switches of a process's first thread alone.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]

OWN: Final = "generator"

# By what their command line says; the first match counts.
_ROLES: Final = (
    ("relay.loadgen.reference", "reference"),
    ("relay.loadgen", OWN),
    ("relay.front", "front"),
    ("workers", "worker"),
    ("supervisor", "supervisor"),
)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One process, all its threads, since its start."""

    pid: int
    role: str
    name: str  # role and number, unique in a run
    cpu_s: float = 0.0
    waits: int = 0  # voluntary context switches: it had nothing to do
    preempted: int = 0  # involuntary ones: it wanted to go on
    private_bytes: int = 0  # resident and not shared with files or other processes' pages
    pss_bytes: int = 0  # 0 where not asked for


class Processes:
    """A server's process tree, found by its root, or our own; remembers who has been there."""

    def __init__(self, root_pid: int, *, role: str = "") -> None:
        self._root = root_pid
        self._role = role
        self._names: dict[int, tuple[str, str]] = {}
        self._last: dict[int, Usage] = {}

    def look(self, *, pss: bool = False) -> dict[int, Usage]:
        """Return the usage of every process that there is or was, by pid.

        One that has ended keeps its last figures. PSS takes the kernel some milliseconds a process.
        """
        for process in _tree(self._root):
            try:
                self._last[process.pid] = self._usage(process, pss=pss)
            except (psutil.Error, OSError):
                pass  # it ended while we looked
        return dict(self._last)

    def _usage(self, process: "psutil.Process", *, pss: bool) -> Usage:
        role, name = self._name(process)
        times = process.cpu_times()
        memory = process.memory_info()
        waits, preempted = _context_switches(process.pid)
        return Usage(
            pid=process.pid,
            role=role,
            name=name,
            cpu_s=times.user + times.system,
            waits=waits,
            preempted=preempted,
            private_bytes=memory.rss - memory.shared,
            pss_bytes=_pss(process.pid) if pss else 0,
        )

    def _name(self, process: "psutil.Process") -> tuple[str, str]:
        known = self._names.get(process.pid)
        if known is None:
            role = self._role or _role_of(process.cmdline(), process.name())
            count = sum(each == role for each, _ in self._names.values())
            known = self._names[process.pid] = role, f"{role} {count}"
        return known


def server_root(port: int) -> int | None:
    """Return the pid of the root of the process tree that listens on `port` of this machine.

    None where it is on another machine, or another user's.
    """
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    pids = [
        each.pid
        for each in connections
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid
    ]
    if not pids:
        return None
    process = psutil.Process(min(pids))
    while (parent := process.parent()) is not None and _is_known(parent.cmdline()):
        process = parent
    return int(process.pid)


def memory_of_machine() -> int:
    """Return the bytes of memory that this machine has."""
    return int(psutil.virtual_memory().total)


def shares(before: Iterable[Usage], after: Iterable[Usage]) -> dict[int, float]:
    """Return the CPU seconds that each process used in between, by pid."""
    earlier = {usage.pid: usage.cpu_s for usage in before}
    return {usage.pid: usage.cpu_s - earlier.get(usage.pid, 0.0) for usage in after}


def _tree(root: int) -> "list[psutil.Process]":
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def _role_of(command: list[str], name: str) -> str:
    # A module may stand as `-m workers`, a path or a module name.
    text = " ".join(command[:4])
    return next((role for part, role in _ROLES if part in text), name)


def _is_known(command: list[str]) -> bool:
    text = " ".join(command[:4])
    return any(part in text for part, role in _ROLES if role != OWN)


def _context_switches(pid: int) -> tuple[int, int]:
    waits = preempted = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            text = Path(f"/proc/{pid}/task/{task}/status").read_text()
        except OSError:
            continue  # the thread ended
        _, _, counts = text.rpartition("\nvoluntary_ctxt_switches:")
        first, _, second = counts.partition("\nnonvoluntary_ctxt_switches:")
        waits += int(first)
        preempted += int(second)
    return waits, preempted


def _pss(pid: int) -> int:
    for text in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if text.startswith("Pss:"):
            return int(text.split()[1]) * 1024
    return 0
