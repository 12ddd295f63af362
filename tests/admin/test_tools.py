"""The tools of an operator, beside the admin that has started one: whose fault it is that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from relay.admin.operations import Operation, Operations
from relay.admin.tools import _MAX_LINE_BYTES, Done, Say, ToolFailed, Tools
from relay.process.eventloop import run_to_its_end

DEADLINE_S = 20.0


async def ended(work: Callable[[Tools, Say], Awaitable[Done]]) -> Operation:
    operations = Operations(1, lambda wish: None)
    tools = Tools(operations)
    operation = tools.begin("a try", lambda say: work(tools, say))
    return await operations.wait(operation, DEADLINE_S)


def test_a_fault_of_the_admins_own_ends_the_process() -> None:
    async def work(tools: Tools, say: Say) -> Done:
        raise ZeroDivisionError("a bug")

    async def run(loop: asyncio.AbstractEventLoop) -> None:
        await ended(work)

    with pytest.raises(ZeroDivisionError, match="a bug"):
        run_to_its_end(asyncio.run, run)


@pytest.mark.parametrize("error", [ToolFailed("it says no"), OSError("it says no")])
def test_what_a_tool_or_the_disk_says_no_to_has_failed(error: Exception) -> None:
    async def work(tools: Tools, say: Say) -> Done:
        raise error

    operation = asyncio.run(ended(work))

    assert (operation.state, operation.detail) == ("failed", "it says no")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "detail"),
    [
        ("sys.stderr.write('x' * 3 * (1 << 20))", f"a line of over {_MAX_LINE_BYTES:,} bytes"),
        ("sys.stdout.buffer.write(b'\\xff{')", "exit code 0"),
        ("sys.stdout.write('{\"report\": ')", "exit code 0"),
        ("sys.exit(7)", "exit code 7"),
        ("raise ZeroDivisionError('of the tool')", "ZeroDivisionError: of the tool"),
    ],
)
def test_whatever_a_tool_says_is_its_own_fault(
    does: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "workers" / "store"
    package.mkdir(parents=True)
    for each in (package.parent, package):
        (each / "__init__.py").touch()
    (package / "__main__.py").write_text(f"import sys\n{does}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def work(tools: Tools, say: Say) -> Done:
        return await tools.run(say, "check", str(tmp_path))

    operation = asyncio.run(ended(work))

    assert operation.state == "failed"
    assert detail in operation.detail
    assert len(operation.detail) < 5000
