"""People who chat by the Python client; as a program, one who can be made to stand still.

`python -m tests.integration.talker URL ME THEM NAME GAP_S` is online from then on. A line on stdin,
`talk`, has it say NAME1 to NAME50 to THEM; `tell` has it write what has become of it, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from relay.client import Connected, Event, Failed, Level, Message, Receipt, RelayClient, Sent
from tests.outside.processes import REPOSITORY
from tests.outside.waiting import DEADLINE_S

COUNT: Final = 50


class Person:
    """One who chats: what came, what happened, and what became of each message."""

    def __init__(self, client: RelayClient) -> None:
        self.client = client
        self.got: list[str] = []
        self.events: list[Event] = []
        self.ended = ""

    async def listen(self) -> None:
        try:
            async for event in self.client.events():
                self.events.append(event)
                if isinstance(event, Message):
                    self.got.append(event.text)
                    self.client.mark_read(event)
        except Exception as error:
            self.ended = type(error).__name__

    async def chatter(self, to: str, name: str, gap_s: float) -> None:
        for text in numbered(name):
            self.client.send(to, text)
            await asyncio.sleep(gap_s)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def read(self) -> set[str]:
        """The ids of what was said here and read there."""
        return {event.id for event in self.of(Receipt) if event.level == Level.READ}


def numbered(name: str) -> list[str]:
    return [f"{name}{number}" for number in range(1, COUNT + 1)]


class Talker:
    """Such a program, from outside."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def talk(self) -> None:
        """Have it begin."""
        self._write("talk")

    def tell(self) -> dict[str, Any]:
        """Return what has become of it until now."""
        self._write("tell")
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        assert readable, "it does not answer"
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return told

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()


@contextmanager
def open_talker(url: str, me: str, them: str, name: str, *, gap_s: float) -> Iterator[Talker]:
    """Start the program; it ends with the context."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.talker", url, me, them, name, str(gap_s)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield Talker(process)
        finally:
            process.kill()


async def _live(url: str, me: str, them: str, name: str, gap: str) -> None:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    async with RelayClient(url, me) as client:
        person = Person(client)
        doing = [asyncio.create_task(person.listen())]
        while line := (await lines.readline()).strip():
            if line == b"talk":
                doing.append(asyncio.create_task(person.chatter(them, name, float(gap))))
                continue
            told = {
                "online": client.online,
                "got": person.got,
                "sent": len(person.of(Sent)),
                "read": len(person.read),
                "waiting": len(client.waiting),
                "failed": len(person.of(Failed)),
                "connected": len(person.of(Connected)),
                "ended": person.ended,
            }
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_live(*sys.argv[1:6]))
