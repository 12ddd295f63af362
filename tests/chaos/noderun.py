"""A chaos run whose users are the JavaScript client in Node, judged by the load generator.

Faults strike while they send; then they send no more, and all must arrive without anything being
done about it. What the client tells its users is the record (`record`).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from .fleet import Fleet, FleetError
from .guard import Guard
from .record import PHASES, Record
from .run import CONFIG, GATHERING, GROUP_MEMBERS, PROGRESS_LINES, Options
from .schedule import draw_faults

DRIVER: Final = Path(__file__).with_name("driver.mjs")
CALM_S: Final = 60.0
_AT_ONCE: Final = 1 << 20  # bytes of one line
_CHATS: Final = 4
_SHOWN: Final = 5
# So that a client soon knows that its connection is gone, and is soon back.
_LIMITS: Final = {"keepaliveS": 3, "answerS": 3, "reconnectMaxS": 2, "confirmS": 1.5}


class Verdict(msgspec.Struct, frozen=True):
    """What a run has shown."""

    lines: list[str]
    exit_code: int


class NodeRun:
    """One run; `go` it once."""

    def __init__(self, options: Options, write: Callable[[str], None], *, node: str) -> None:
        self._options = options
        self._write = write
        self._node = node
        self._began_s = time.monotonic()
        random = Random(options.seed)
        names = [str(910000000001 + number) for number in range(options.users)]
        self._groups = {
            f"{names[0]}-{n}@g.us": random.sample(names, min(GROUP_MEMBERS, len(names)))
            for n in range(options.groups)
        }
        self._chats = {name: self._chats_of(name, names, random) for name in names}
        faults = draw_faults(
            random,
            seconds=options.seconds,
            kills_per_minute=options.kills_per_minute,
            workers=options.workers,
            fronts=options.fronts,
        )
        self._record = Record(self._chats, self._groups)
        self._guard = Guard(tokens=options.tokens)
        self._fleet = Fleet(
            workers=options.workers,
            fronts=options.fronts,
            reshards=options.reshard,
            config=CONFIG + GATHERING[options.gather],
            groups=self._groups,
            faults=faults,
            random=random,
            sabotage=options.sabotage,
            keep=options.keep,
            now_s=self._now_s,
            guard=self._guard,
        )
        self._wrong: list[str] = []

    def _chats_of(self, name: str, names: list[str], random: Random) -> list[str]:
        others = [each for each in names if each != name]
        mine = sorted(jid for jid, members in self._groups.items() if name in members)
        return random.sample(others, min(_CHATS, len(others))) + mine

    async def go(self) -> Verdict:
        """Run it all; whatever happens, nothing is left running."""
        process = None
        try:
            await self._fleet.start()
            process = await asyncio.create_subprocess_exec(
                *(self._node, "--experimental-websocket", "--no-warnings", str(DRIVER)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_AT_ONCE,
            )
            self._began_s = time.monotonic()
            await self._live_through(process)
            self._wrong += [each.what for each in await self._fleet.stop()]
        except FleetError as error:
            self._wrong.append(str(error))
        finally:
            if process is not None:
                process.kill()
                await process.wait()
            try:
                self._wrong += [f"{each.kind}: {each.what}" for each in self._fleet.complaints()]
            finally:
                self._fleet.close()
        return self._verdict()

    async def _live_through(self, process: asyncio.subprocess.Process) -> None:
        lives = [
            asyncio.create_task(self._read(process)),
            asyncio.create_task(self._fleet.failed()),
            asyncio.create_task(self._progress()),
        ]
        phases = asyncio.create_task(self._storm_and_calm(process))
        try:
            done, _ = await asyncio.wait({phases, *lives}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if phases not in done:
                self._wrong.append("the driver has ended of itself")
        finally:
            for task in (phases, *lives):
                task.cancel()
            await asyncio.wait({phases, *lives})

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with (self._fleet.directory / "record").open("wb") as kept:
            while line := await process.stdout.readline():
                kept.write(b"%.3f " % self._now_s() + line)
                self._record.take(line, time.monotonic_ns())

    async def _storm_and_calm(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        process.stdin.write(self._plan() + b"\n")
        await self._fleet.storm()
        await asyncio.sleep(max(0.0, self._options.seconds - self._now_s()))
        await self._fleet.calm()
        await self._fleet.ready()
        # The last thing in each chat is said when all else is there: what should not come any more
        # would come before it.
        for phase in PHASES:
            process.stdin.write(f"{phase}\n".encode())
            until_s = self._now_s() + CALM_S
            while not self._is_done(phase) and self._now_s() < until_s:
                await asyncio.sleep(0.05)

    def _is_done(self, phase: str) -> bool:
        """Tell whether the driver has done that, and nothing is under way any more."""
        return bool(self._record.told[phase]) and not self._record.unfinished

    def _plan(self) -> bytes:
        options = self._options
        users = [
            {
                "user": user,
                "token": self._guard.token_of(user),
                "chats": [{"to": to, "prefix": self._record.prefixes[user, to]} for to in chats],
            }
            for user, chats in self._chats.items()
        ]
        plan = {
            "url": self._guard.url(self._fleet.port),
            "limits": _LIMITS,
            "everyMs": 1000 * options.users / options.rate,
            "seed": options.seed,
            "users": users,
        }
        return json.dumps(plan).encode()

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(max(1.0, self._options.seconds / PROGRESS_LINES))
            counts = self._record.counts
            self._write(
                f"{self._now_s():5.0f} s  faults {self._fleet.done.total():3}"
                f"  sent {counts.sent:,}  acked {counts.stored:,}"
                f"  delivered {counts.delivered:,}  receipts {counts.receipts:,}"
                f"  unfinished {self._record.unfinished:,}"
            )

    def _verdict(self) -> Verdict:
        record = self._record
        counts, told = record.counts, record.told
        faults = record.faults()
        lines = [
            "faults    " + _list(dict(sorted(self._fleet.done.items()))),
            f"sessions  logins {counts.logins + told['connected']:,}"
            f"  closes {_list(dict(sorted(record.closes.items())))}",
            f"messages  sent {counts.sent:,}  acked {counts.stored:,}"
            f"  delivered {counts.delivered:,}  receipts {counts.receipts:,}"
            f"  read {counts.reads_arrived:,}  delayed {told['delayed']:,}",
            "verdict   " + (_list({k: f.count for k, f in faults.kinds.items()}) or "no fault"),
        ]
        for kind, fault in faults.kinds.items():
            lines += [f"{kind}: {example}" for example in fault.examples]
        if not counts.sent:
            self._wrong.append("nothing was sent")
        lines += self._wrong[:_SHOWN]
        return Verdict(lines, 1 if faults or self._wrong else 0)


def _list(counts: dict[str, int]) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in counts.items())
