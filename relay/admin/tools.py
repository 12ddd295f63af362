"""The tools of an operator (`python -m workers.store`), each in a process beside everything else.

One runs at a time. It ends with the admin that has started it, and undoes what it must; whoever
asks the next admin for the same has it done from the start.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from relay import log
from relay.admin.operations import Operation, Operations
from relay.process.eventloop import begin_task

_ENDS_WITHIN_S: Final = 2.0
_MAX_LINE_BYTES: Final = 1024 * 1024
_SHOWN_FINDINGS: Final = 5
_SHOWN_CHARS: Final = 1000  # of a line
_PROGRESS: Final = re.compile(r"(.{1,200}): (\d{1,3}) %")


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong with a store."""

    store: str
    tree: str
    key: str
    problem: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.store, self.tree, self.key))) + ": " + self.problem


class _Report(msgspec.Struct, frozen=True):
    stores: int = 0
    items: int = 0
    total: int = 0
    findings: list[Finding] = []


class _Ended(msgspec.Struct, frozen=True):
    """What a tool says (workers.tools.apart)."""

    report: _Report = _Report()
    note: str = ""
    counts: dict[str, int] = {}
    error: str = ""


class ToolRuns(Exception):  # a refusal, which says what is
    """Another tool runs, and they go one by one."""


class ToolFailed(Exception):
    """The tool did not do what it was asked for; `str` says why."""


class Done(msgspec.Struct, frozen=True):
    """What a tool has done, in a line for people and as counts."""

    detail: str
    counts: dict[str, int] = {}
    is_clean: bool = True  # whether nothing is wrong with what it has looked at


# Says how far a tool is; runs one with these arguments and raises ToolFailed.
Say = Callable[[str], None]


class Tools:
    """The one of an admin."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._task: asyncio.Task[None] | None = None
        self._operation: Operation | None = None  # of the task
        self._process: asyncio.subprocess.Process | None = None

    def begin(self, what: str, work: Callable[[Say], Awaitable[Done]]) -> Operation:
        """Begin to do `work`, which runs its tool by `run`.

        Raises:
            ToolRuns: another one is under way.
        """
        if self._task is not None and not self._task.done():
            assert self._operation is not None, "a task has one"
            raise ToolRuns(f"{self._operation.what} runs: it is operation {self._operation.id}")
        operation = self._operation = self._operations.begin(what)
        self._task = begin_task(self._do(operation, work))
        return operation

    async def _do(self, operation: Operation, work: Callable[[Say], Awaitable[Done]]) -> None:
        try:
            done = await work(lambda detail: self._operations.tell(operation, detail))
        except (ToolFailed, OSError) as error:
            self._operations.tell(operation, str(error), "failed")
        else:
            state = self._operations.tell
            state(operation, done.detail, "done" if done.is_clean else "failed", done.counts)
        log.get_logger().info("tool.ended", what=operation.what, operation=operation.id)

    async def run(self, say: Say, *arguments: str, keeps: tuple[int, ...] = ()) -> Done:
        """Run a tool to its end; descriptors in `keeps` stay open as long as it lives.

        Raises:
            ToolFailed: it says that it has not done it, or says nothing.
            OSError: it cannot be started.
        """
        process = self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "workers.store", "--followed", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a kill of the admin's group leaves it time to undo
            pass_fds=keeps,
            limit=_MAX_LINE_BYTES,
        )
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None, "it is a pipe"
        assert stdout is not None, "it is one, too"
        assert stderr is not None, "and so is this"
        try:
            said, words = await asyncio.gather(stdout.read(), _followed(stderr, say))
            code = await process.wait()
        finally:
            stdin.close()  # whatever was in the way, it is to end
            self._process = None
        try:
            ended = msgspec.json.decode(said, type=_Ended)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ToolFailed(_one_line(words) or f"it ended with exit code {code}") from None
        if ended.error:
            raise ToolFailed(_one_line(ended.error))
        return _done(ended)

    async def close(self) -> None:
        """End what runs, in order; what is not soon over ends by itself."""
        task = self._task
        if task is None or task.done():
            return
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ENDS_WITHIN_S):
                    await asyncio.shield(task)
        task.cancel()


async def _followed(stream: asyncio.StreamReader, say: Say) -> str:
    """Say what a tool says of how far it is; return the last of all else."""
    words: deque[str] = deque(maxlen=20)
    while True:
        try:
            line = await stream.readline()
        except ValueError:  # the stream has thrown it away
            words.append(f"a line of over {_MAX_LINE_BYTES:,} bytes")
            continue
        if not line:
            return "\n".join(words)
        text = line.decode(errors="replace").strip()
        if _PROGRESS.fullmatch(text):
            say(text)
        else:
            words.append(text[:_SHOWN_CHARS])


def _done(ended: _Ended) -> Done:
    report, lines = ended.report, [ended.note] if ended.note else []
    if report.stores:
        verdict = f"{report.total:,} findings" if report.total else "nothing is wrong"
        lines.append(f"{report.stores:,} stores, {report.items:,} items: {verdict}")
    lines += map(str, report.findings[:_SHOWN_FINDINGS])
    counts = ended.counts
    if report.stores:
        counts = {
            **counts,
            "stores": report.stores,
            "items": report.items,
            "findings": report.total,
        }
    return Done(_one_line("\n".join(lines)), counts, not report.total)


def _one_line(text: str) -> str:
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())
