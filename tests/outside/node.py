"""A Node process that runs the scripts that it is given, as a page in a browser does."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from .waiting import DEADLINE_S

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


def executable() -> str | None:
    """Return where Node is, None where it is not installed."""
    return shutil.which("node")


class Node:
    """One process of Node, with its own WebSocket switched on."""

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


@contextmanager
def open_node(program: str) -> Iterator[Node]:
    """Start Node; it ends with the context."""
    with subprocess.Popen(
        [program, "--experimental-websocket", "--no-warnings", "-e", _DRIVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Node(process)
        finally:
            process.kill()
