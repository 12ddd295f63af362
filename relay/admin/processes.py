"""What the kernel knows of the relay's processes: also of one that answers nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_MODULES: Final = {"workers": "worker", "relay.front": "front", "relay.admin": "admin"}


class Usage(msgspec.Struct, frozen=True):
    """One process, as it is now."""

    role: str  # "supervisor", "front", "worker" or "admin"
    index: int
    incarnation: int
    pid: int
    state: str  # as in proc(5): "T" is stopped, "D" waits for a disk
    cpu_s: float
    memory_bytes: int
    descriptors: int
    age_s: float


def usages(proc: Path = Path("/proc"), supervisor: int | None = None) -> list[Usage]:
    """Return the supervisor and its children; nothing where there is no /proc."""
    root = os.getppid() if supervisor is None else supervisor
    try:
        children = (proc / str(root) / "task" / str(root) / "children").read_text().split()
        uptime_s = float((proc / "uptime").read_text().split()[0])
    except OSError:
        return []
    found = [_usage_of(proc, root, "supervisor", 0, 0, uptime_s)]
    for child in map(int, children):
        try:
            words = (proc / str(child) / "cmdline").read_bytes().decode().split("\0")
            role = _MODULES[words[words.index("-m") + 1]]
            index = int(words[words.index("--index") + 1])
            number = int(words[words.index("--incarnation") + 1])
        except (OSError, KeyError, ValueError):
            continue  # it is gone, or is none of the relay's seats
        found.append(_usage_of(proc, child, role, index, number, uptime_s))
    return [each for each in found if each is not None]


def _usage_of(
    proc: Path, pid: int, role: str, index: int, number: int, uptime_s: float
) -> Usage | None:
    here = proc / str(pid)
    try:
        # Behind the name, which may hold anything: state, and from the 11th on what is counted.
        fields = (here / "stat").read_text().rpartition(")")[2].split()
        resident = int((here / "statm").read_text().split()[1])
        descriptors = len(os.listdir(here / "fd"))
    except OSError:
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
    age_s = uptime_s - int(fields[19]) / _TICKS_A_SECOND
    return Usage(
        role,
        index,
        number,
        pid,
        fields[0],
        cpu_s,
        resident * _PAGE_BYTES,
        descriptors,
        max(0.0, age_s),
    )
