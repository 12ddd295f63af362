"""A Node process that runs the scripts that it is given, as a page in a browser does.

Deno and Bun may do so too.
"""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil  # type: ignore[import-untyped]

from .processes import REPOSITORY
from .waiting import DEADLINE_S

# Where `make engines` puts them.
_ENGINES: Final = REPOSITORY / "build" / "engines" / "node_modules" / ".bin"
_COMMANDS: Final = {
    "node": ("--experimental-websocket", "--no-warnings"),
    "deno": ("run", "--allow-all", "--quiet"),
    "bun": ("run",),
}

# Reads a script a line, and answers with the value of its last expression, awaited.
_DRIVER: Final = """
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  let answer;
  try {
    answer = { value: (await (0, eval)(JSON.parse(line))) ?? null };
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\\n");
});
lines.on("close", () => process.exit(0));
"""


def executable(engine: str = "node") -> str | None:
    """Return where "node", "deno" or "bun" is, None where it is not installed."""
    return shutil.which(engine) or shutil.which(engine, path=str(_ENGINES))


class Node:
    """One process of Node, with its own WebSocket switched on; or of another engine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def run(self, script: str) -> Any:
        """Run a script; return the value of its last expression."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(script).encode() + b"\n")
        self._process.stdin.flush()
        readable, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        assert readable, f"no answer to {script!r}"
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]

    @property
    def pid(self) -> int:
        return self._process.pid


@contextmanager
def open_node(program: str, engine: str = "node") -> Iterator[Node]:
    """Start `program`, which is that engine; it ends with the context."""
    with tempfile.TemporaryDirectory(prefix="relay-node-") as directory:
        driver = Path(directory) / "driver.cjs"
        driver.write_text(_DRIVER)
        with subprocess.Popen(
            [program, *_COMMANDS[engine], str(driver)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                yield Node(process)
            finally:
                every = psutil.Process(process.pid).children(recursive=True)
                process.kill()  # npm's launchers are parents
                for each in every:
                    each.kill()
