"""What the processes of a relay ask of the kernel, in the order in which it happens: strace."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final

import pytest

from tests.outside.processes import Child
from tests.outside.waiting import DEADLINE_S, poll_for

# All that writes, to files and to sockets, and all that makes it durable.
_WRITES: Final = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg")
_SYNCS: Final = ("fsync", "fdatasync", "msync", "sync_file_range")
_TRACED: Final = (*_WRITES, *_SYNCS, "lseek", "ftruncate")
_MAX_STRING: Final = 1 << 20  # more than any process of the relay writes in one piece

_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_BEGUN = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>")
_ENDED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>.*\) += (-?\d+)")
_FILE = re.compile(r"(\d+)<([^>]*)>")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


@dataclass
class Call:
    """One system call; `began` and `ended` are moments, and of any two events the order is known.

    The tracer holds a thread at each end of a call until it has noted it. So what a call causes,
    in whatever process, begins after that call's noted end.
    """

    role: str  # of the process: "worker" or "front"
    name: str
    arguments: str
    began: int
    ended: int = 1 << 62  # not before the trace was over
    result: int = 0

    @property
    def descriptor(self) -> int:
        return int(self._file()[1])

    @property
    def path(self) -> str:
        """The file of the first argument, or what kind of socket it is."""
        return self._file()[2]

    @cached_property
    def written(self) -> bytes:
        """What a call writes or sends; empty if it does something else."""
        if self.name not in _WRITES:
            return b""
        return b"".join(
            text.encode().decode("unicode_escape").encode("latin-1")
            for text in _STRING.findall(self.arguments)
        )

    @property
    def syncs(self) -> bool:
        return self.name in _SYNCS or self.writes_through

    @property
    def writes_through(self) -> bool:
        """Whether what it writes is durable when it returns."""
        return self.name == "pwritev2" and self.arguments.endswith(", RWF_DSYNC")

    @property
    def numbers(self) -> list[int]:
        """The arguments behind what is written, as far as they are numbers."""
        return [int(n) for n in re.findall(r", (-?\d+)(?=,|$)", self.arguments)]

    def _file(self) -> re.Match[str]:
        match = _FILE.match(self.arguments)
        assert match is not None, self
        return match


# The role of a thread that came and went while nobody looked: a front looks at files in such.
SHORT_LIVED = "short-lived thread"


class Tracer:
    """Traces processes from the entry of the context to its end; then `calls` tells what they did.

    Skips the test where that cannot be done.
    """

    def __init__(self, directory: Path, children: Sequence[Child]) -> None:
        self._children = children
        self._output = directory / "trace"
        self._said = directory / "strace.log"
        self._roles: dict[str, str] = {}
        self.calls: list[Call] = []

    def __enter__(self) -> "Tracer":
        if shutil.which("strace") is None:
            pytest.skip("strace is not installed")
        pids = [child.process.pid for child in self._children]
        with self._said.open("wb") as said:
            self._strace = subprocess.Popen(
                [
                    *("strace", "-f", "-y", "-s", str(_MAX_STRING), "-o", str(self._output)),
                    *("-e", f"trace={','.join(_TRACED)}", "-e", "signal=none"),
                    *(option for pid in pids for option in ("-p", str(pid))),
                ],
                stdin=subprocess.DEVNULL,
                stderr=said,
            )
        try:
            poll_for("strace is attached", lambda: self._has_ended() or self._is_attached(pids))
            if self._has_ended():
                pytest.skip(f"strace cannot trace here: {self._said.read_text().strip()}")
        except BaseException:
            self._stop()
            raise
        self._look_at_threads()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._look_at_threads()
        self._stop()
        if kind is None:
            self.calls = list(self._read())

    def _look_at_threads(self) -> None:
        """Note which process each thread is of; some may be started meanwhile."""
        for child in self._children:
            for thread in os.listdir(f"/proc/{child.process.pid}/task"):
                self._roles[thread] = child.role

    def _has_ended(self) -> bool:
        return self._strace.poll() is not None

    def _is_attached(self, pids: Sequence[int]) -> bool:
        said = self._said.read_text()
        return all(f"Process {pid} attached" in said for pid in pids)

    def _stop(self) -> None:
        self._strace.send_signal(signal.SIGINT)  # it lets the processes go on
        self._strace.wait(DEADLINE_S)

    def _read(self) -> Iterator[Call]:
        """Yield the calls in the order of their beginnings; how they ended is noted meanwhile."""
        open_calls: dict[tuple[str, str], Call] = {}
        with self._output.open(encoding="ascii") as output:
            for moment, line in enumerate(output):
                if match := _BEGUN.match(line):
                    thread, name, arguments = match.groups()
                    call = Call(self._roles.get(thread, SHORT_LIVED), name, arguments, moment)
                    open_calls[thread, name] = call
                    yield call
                elif match := _ENDED.match(line):
                    thread, name, result = match.groups()
                    ended = open_calls.pop((thread, name), None)
                    if ended is not None:  # else it began before the trace
                        ended.ended, ended.result = moment, int(result)
                elif match := _CALL.match(line):
                    thread, name, arguments, result = match.groups()
                    yield Call(
                        self._roles.get(thread, SHORT_LIVED),
                        name,
                        arguments,
                        moment,
                        moment,
                        int(result),
                    )
