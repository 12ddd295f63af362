"""What processes cost: CPU time, context switches and memory, of a server's and of our own.

Linux only, as it reads /proc: psutil counts context switches of a process's first thread alone.
"""

from pathlib import Path
from typing import Final

import msgspec
import psutil  # type: ignore[import-untyped]

from relay.loadgen.report.record import OWN, Load

# By the module or script that Python runs.
_ROLES: Final = {
    "relay.loadgen.run.reference": "reference",
    "relay.front": "front",
    "workers": "worker",
    "relay serve": "supervisor",
    "supervisor.py": "supervisor",
}


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
    """A server's process tree, found by its root; remembers who has been there."""

    def __init__(self, root_pid: int) -> None:
        self._root = root_pid
        self._names: dict[int, tuple[str, str]] = {}
        self._last: dict[int, Usage] = {}

    def look(self, *, pss: bool = False) -> dict[int, Usage]:
        """Return the usage of every process that there is or was, by pid.

        One that has ended keeps its last figures. PSS takes the kernel some milliseconds a process.
        """
        for process in self._present():
            try:
                usage = self._usage(process, pss=pss)
                if usage.private_bytes:  # else it has ended and waits to be reaped
                    self._last[process.pid] = usage
            except (psutil.Error, OSError):
                pass  # it ended while we looked
        return dict(self._last)

    def _present(self) -> "list[psutil.Process]":
        try:
            root = psutil.Process(self._root)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def _role(self, process: "psutil.Process") -> str:
        return _role_of(process.cmdline()) or str(process.name())

    def _usage(self, process: "psutil.Process", *, pss: bool) -> Usage:
        role, name = self._name(process)
        cpu_s, waits, preempted = _threads(process)
        memory = process.memory_info()
        return Usage(
            pid=process.pid,
            role=role,
            name=name,
            cpu_s=cpu_s,
            waits=waits,
            preempted=preempted,
            private_bytes=memory.rss - memory.shared,
            pss_bytes=_pss(process.pid) if pss else 0,
        )

    def _name(self, process: "psutil.Process") -> tuple[str, str]:
        known = self._names.get(process.pid)
        if known is None:
            role = self._role(process)
            count = sum(each == role for each, _ in self._names.values())
            known = self._names[process.pid] = role, f"{role} {count}"
        return known


class OwnProcesses(Processes):
    """The generator's own: the conductor and its players."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__(pids[0])
        self._pids = pids

    def _present(self) -> "list[psutil.Process]":
        present = []
        for pid in self._pids:
            try:
                present.append(psutil.Process(pid))
            except psutil.NoSuchProcess:
                pass  # it has ended
        return present

    def _role(self, process: "psutil.Process") -> str:
        return OWN


def loads_between(before: dict[int, Usage], after: dict[int, Usage]) -> list[Load]:
    """Return what each process did between two looks at them; one that started since did all."""
    loads = []
    for pid, now in after.items():
        then = before.get(pid)
        loads.append(
            Load(
                role=now.role,
                name=now.name,
                cpu_s=now.cpu_s - (then.cpu_s if then else 0.0),
                waits=now.waits - (then.waits if then else 0),
                preempted=now.preempted - (then.preempted if then else 0),
                private_bytes=now.private_bytes,
            )
        )
    return loads


def pss_by_role(usages: dict[int, Usage]) -> dict[str, int]:
    """Return the PSS of each role's processes together, of a look that asked for it."""
    total: dict[str, int] = {}
    for usage in usages.values():
        total[usage.role] = total.get(usage.role, 0) + usage.pss_bytes
    return total


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
    while (parent := process.parent()) is not None and _role_of(parent.cmdline()):
        process = parent
    return int(process.pid)


def machine_busy_s() -> float:
    """Return the CPU seconds that everything on this machine has used since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def memory_of_machine() -> int:
    """Return the bytes of memory that this machine has."""
    return int(psutil.virtual_memory().total)


def _role_of(command: list[str]) -> str:
    """Return the role of a process of ours by its command line, else an empty string."""
    rest = command[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest = rest[1:]  # an option of the interpreter
    if rest and rest[0] == "-m":
        rest = rest[1:]
    if not rest:
        return ""
    program = Path(rest[0]).name
    return _ROLES.get(program) or _ROLES.get(f"{program} {rest[1] if rest[1:] else ''}", "")


def _threads(process: "psutil.Process") -> tuple[float, int, int]:
    """Return CPU seconds, waits and preemptions of all threads of a process."""
    nanoseconds = waits = preempted = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
            ran, _, _ = (task / "schedstat").read_text().partition(" ")
        except FileNotFoundError:
            continue  # the thread ended
        _, _, counts = status.rpartition("\nvoluntary_ctxt_switches:")
        first, _, second = counts.partition("\nnonvoluntary_ctxt_switches:")
        nanoseconds += int(ran)
        waits += int(first)
        preempted += int(second)
    if not nanoseconds:  # a kernel without scheduler statistics; this has steps of 10 ms
        times = process.cpu_times()
        return times.user + times.system, waits, preempted
    return nanoseconds / 1e9, waits, preempted


def _pss(pid: int) -> int:
    for text in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if text.startswith("Pss:"):
            return int(text.split()[1]) * 1024
    return 0
