"""A chaos run from start to verdict: load, faults, calm, drain, check.

1. **Storm**: users come, go, send and ack while the faults of the schedule strike.
2. **Calm**: no more faults; everyone logs in and stays. Now everything that was promised must
   arrive without anybody logging in anew; what does not is *stuck*.
3. **Drain**: everyone logs in until nothing waits. What did not arrive by now is *lost*.
4. **Stop**: SIGTERM ends the relay in order, and no process is left.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from random import Random
from string import ascii_lowercase
from typing import Any, Final, Literal

import msgspec

from . import checker
from .checker import Totals, Violation
from .doors import Doors
from .fleet import Fleet, FleetError
from .ground import Ground
from .guard import Guard
from .ledger import DELIVERED, Key, Ledger
from .schedule import draw_faults
from .user import HABITS, HABITS_OF_MANY_HOSTS, User

CALM_S = 30.0
ACK_AGAIN_S = 3.0
DRAIN_S = 60.0
DRAIN_PAUSE_S = 0.3  # a confirmation waits for others, some 100 ms
GROUP_MEMBERS = 8
MOVES_PER_MINUTE = 1.0  # of ranges, where there are several hosts
DRAINS_PER_MINUTE = 0.5  # of hosts
PROGRESS_LINES = 60  # a long run tells less often
CANCELS = 30  # of what does not end at once
SHOWN = 3  # violations of each kind, with their stories

# Small pages, buffers and credits, so that paging, pauses and full links come with little load.
# Short restarts: under this many deaths the default's growing pauses would leave nobody serving.
CONFIG = """\
[supervisor]
restart_max_s = 1.0
[keepalive]
receipt_ping_s = 0.2
[limits]
frame_bytes = 65536
message_bytes = 49152
[flow]
session_pause_bytes = 8192
page_bytes = 16384
q_frame_bytes = 32768
link_bytes = 65536
"""
# How long processes gather and acks ride at most, as `Options.gather` has it; part of [flow].
GATHERING: Final = {
    "off": "gather_s = 0.0\nride_s = 0.0\n",
    "default": "",
    "most": "gather_s = 0.2\nride_s = 0.1\n",
}


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is made of; `rate` is in sends a second if everybody were online."""

    seconds: float = 60.0
    seed: int = 1
    workers: int = 2
    fronts: int = 2
    users: int = 60
    groups: int = 8
    kills_per_minute: float = 20.0
    rate: float = 100.0
    hosts: int = 0
    reshard: bool = False
    tls: bool = False
    tokens: bool = False
    client: str = "sheet"
    gather: Literal["off", "default", "most"] = "default"
    sabotage: str | None = None
    upgrade: Path | None = None
    keep: Path | None = None


class Outcome(msgspec.Struct, frozen=True):
    """What a run has shown."""

    totals: Totals
    violations: list[Violation]
    faults: dict[str, int]
    lines: list[str]  # the report

    @property
    def exit_code(self) -> int:
        """0 where every promise was kept, else 1."""
        return 1 if self.violations else 0


class Run:
    """One run; `go` it once."""

    def __init__(self, options: Options, write: Callable[[str], None]) -> None:
        self._options = options
        self._write = write
        self._began_s = time.monotonic()
        random = Random(options.seed)
        names = [str(910000000001 + number) for number in range(options.users)]
        groups = {
            f"{names[0]}-{number}@g.us": frozenset(
                random.sample(names, min(GROUP_MEMBERS, len(names)))
            )
            for number in range(options.groups)
        }
        self._ledger = Ledger(groups)
        guard = Guard(tls=options.tls, tokens=options.tokens)
        self._fleet = _ground(options, groups, random=random, now_s=self._now_s, guard=guard)
        all_habits = HABITS_OF_MANY_HOSTS if options.hosts else HABITS
        habits = [all_habits[number % len(all_habits)] for number in range(len(names))]
        slow_readers = {name for name, of in zip(names, habits, strict=True) if of.freezes}
        self._users = [
            User(
                name,
                Doors(self._fleet.urls(number)),
                self._ledger,
                guard=guard,
                habits=of,
                chats=_chats(name, names, groups, random),
                slow_readers=slow_readers,
                sends_per_s=options.rate / options.users,
                random=Random(f"{options.seed} {name}"),
                now_s=self._now_s,
            )
            for number, (name, of) in enumerate(zip(names, habits, strict=True))
        ]
        self._by_name = {user.name: user for user in self._users}
        self._violations: list[Violation] = []
        self._phase = "start"

    async def go(self) -> Outcome:
        """Run it all; whatever happens, nothing is left running."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        try:
            await self._fleet.start()
            self._began_s = time.monotonic()
            await self._live_through(self._storm_and_calm())
            await self._drain()
            self._violations += await self._fleet.books()
            self._violations += await self._fleet.stop()
        except FleetError as error:
            self._violations.append(Violation("fleet", (), str(error)))
        finally:
            try:
                self._violations += self._fleet.complaints()
            finally:
                self._fleet.close()
        self._violations += checker.check(self._ledger)
        return Outcome(
            Totals.of(self._ledger), self._violations, dict(self._fleet.done), list(self._report())
        )

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s

    def _on_loop_error(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = "".join(traceback.format_exception(error)) if error else context["message"]
        self._violations.append(Violation("client", (), what))

    # --- the phases ---

    async def _live_through(self, phases: Coroutine[Any, Any, None]) -> None:
        """Let the users live during `phases`; raise what ends any of them, or the relay."""
        lives = [asyncio.create_task(user.live()) for user in self._users]
        lives += [asyncio.create_task(self._fleet.failed()), asyncio.create_task(self._progress())]
        phase = asyncio.create_task(phases)
        try:
            done, _ = await asyncio.wait({phase, *lives}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _end({phase, *lives})

    async def _storm_and_calm(self) -> None:
        self._phase = "storm"
        await self._fleet.storm()
        await asyncio.sleep(max(0.0, self._options.seconds - self._now_s()))
        self._phase = "calm"
        await self._fleet.calm()
        for user in self._users:
            user.calm_down()
        await self._fleet.ready()
        await self._wait(lambda: all(user.is_online for user in self._users), CALM_S)
        calm_until_s = self._now_s() + CALM_S
        while not self._is_settled() and self._now_s() < calm_until_s:
            # More than once: a rolling restart may still go on, and an ack that a front has not
            # read when it sends the client away goes with the connection.
            self._ack_again()
            await self._wait(self._is_settled, ACK_AGAIN_S)
        self._violations += checker.stuck(self._ledger)
        for user in self._users:
            if user.open_sessions != 1:
                what = f"{user.name} has {user.open_sessions} open connections"
                self._violations.append(Violation("stuck", (), what))
        for process in self._fleet.orphans():
            self._violations.append(Violation("left behind", (), str(process)))

    def _ack_again(self) -> None:
        for message in list(self._ledger.unfinished()):
            for name in message.deliveries:
                if message.receipt_level(name) < max(message.acked_level(name), DELIVERED):
                    self._by_name[name].ack_again(message.key)

    def _is_settled(self) -> bool:
        return (
            not self._ledger.unfinished()
            and all(user.open_sessions == 1 for user in self._users)
            and not self._fleet.orphans()
        )

    async def _drain(self) -> None:
        self._phase = "drain"
        await asyncio.gather(*(user.end() for user in self._users))
        left = list(self._users)
        deadline = self._now_s() + DRAIN_S
        while left and self._now_s() < deadline:
            waiting = await asyncio.gather(*(user.drain() for user in left))
            left = [user for user, queued in zip(left, waiting, strict=True) if queued]
            if left:
                await asyncio.sleep(DRAIN_PAUSE_S)
        for user in left:
            what = f"{user.name} still finds frames in its queue after {DRAIN_S:g} s of logins"
            self._violations.append(Violation("not empty", (), what))

    async def _wait(self, condition: Callable[[], bool], limit_s: float) -> None:
        deadline = self._now_s() + limit_s
        while not condition() and self._now_s() < deadline:
            await asyncio.sleep(0.1)

    # --- telling ---

    async def _progress(self) -> None:
        ledger = self._ledger
        while True:
            await asyncio.sleep(max(1.0, self._options.seconds / PROGRESS_LINES))
            online = sum(user.is_online for user in self._users)
            self._write(
                f"{self._now_s():5.0f} s {self._phase:5}  faults {self._fleet.done.total():3}"
                f"  online {online:3}  sent {len(ledger.messages):,}"
                f"  acked {ledger.acked_messages:,}  delivered {ledger.first_times:,}"
                f"  redelivered {ledger.redelivered:,}"
            )

    def _report(self) -> list[str]:
        totals, kinds = Totals.of(self._ledger), Counter(v.kind for v in self._violations)
        closes: Counter[int] = Counter()
        for user in self._users:
            closes.update(user.closes)
        lines = [
            "faults    " + _list(dict(sorted(self._fleet.done.items()))),
            f"sessions  logins {totals.logins:,}"
            f"  refused {sum(u.login_failures for u in self._users):,}"
            f"  closes {_list(dict(sorted(closes.items())))}",
            f"sends     acked {totals.acked:,} of {totals.sent:,}  refused {totals.refused:,}"
            f"  ack 1 after s {self._waits()}",
            f"messages  delivered {totals.delivered:,}  redelivered {totals.redelivered:,}"
            f"  lost {kinds.pop('lost', 0)}  duplicate {kinds.pop('duplicate', 0)}"
            f"  out of order {kinds.pop('out of order', 0) + kinds.pop('group order', 0)}"
            f"  forged {kinds.pop('forged', 0)}",
            f"receipts  received {totals.receipts:,}  missing {kinds.pop('receipt missing', 0)}",
            "otherwise " + (_list(dict(kinds)) or "nothing to complain of"),
            *self._fleet.report(self._ledger, self._steady()),
        ]
        shown: Counter[str] = Counter()
        for violation in self._violations:
            shown[violation.kind] += 1
            if shown[violation.kind] > SHOWN:
                continue
            lines += ["", f"{violation.kind}: {violation.what}"]
            for key in violation.keys[:3]:
                lines += self._story(key)
        lines += [f"\nand {n - SHOWN} more: {kind}" for kind, n in shown.items() if n > SHOWN]
        return lines

    def _steady(self) -> frozenset[str]:
        """Return the users who are always there, so that what they miss is the relay's."""
        return frozenset(user.name for user in self._users if user.is_steady)

    def _waits(self) -> str:
        """How long ack 1 takes on a connection that stays, of those who read promptly."""
        waits = sorted(
            wait
            for key, message in self._ledger.messages.items()
            if self._by_name[key.author].reads_promptly
            for wait in message.waits_s()
        )
        if not waits:
            return "-"
        median, late = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
        return f"p50 {median:.3f}  p99 {late:.2f}  max {waits[-1]:.2f}"

    def _story(self, key: Key) -> list[str]:
        message = self._ledger.messages.get(key)
        if message is None:
            return [f"  {key}: never sent"]
        events = [(at, text) for at, text in message.story()]
        first, last = events[0][0] - 1, events[-1][0] + 1
        events += [(at, f"-- {text}") for at, text in self._fleet.story if first <= at <= last]
        connections = {c for _, c in message.writes}
        for deliveries in message.deliveries.values():
            connections |= {c for _, c, _ in deliveries}
        for connection in self._ledger.connections:
            if connection.number in connections:
                events += [
                    (at, f"   {connection.user} asks to log in on {connection}")
                    for at in connection.asked
                ]
        return [f"  {key}", *(f"    {at:9.3f}  {text}" for at, text in sorted(events))]


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended: `wait_for` may swallow it where its own wait is over.

    Raises:
        FleetError: one goes on all the same.
    """
    living = tasks
    for _ in range(CANCELS):
        for task in living:
            task.cancel()
        _, living = await asyncio.wait(living, timeout=1.0)
        if not living:
            return
    raise FleetError(f"{len(living)} tasks cannot be cancelled: {next(iter(living))}")


def _ground(
    options: Options,
    groups: dict[str, frozenset[str]],
    *,
    random: Random,
    now_s: Callable[[], float],
    guard: Guard,
) -> Ground:
    """Return the relay that is asked for, with the faults that it will suffer."""
    if options.hosts:
        return _hosts(options, groups, random=random, now_s=now_s, guard=guard)
    return Fleet(
        workers=options.workers,
        fronts=options.fronts,
        reshards=options.reshard,
        config=CONFIG + GATHERING[options.gather],
        groups=groups,
        faults=draw_faults(
            random,
            seconds=options.seconds,
            kills_per_minute=options.kills_per_minute,
            workers=options.workers,
            fronts=options.fronts,
        ),
        random=random,
        sabotage=options.sabotage,
        keep=options.keep,
        now_s=now_s,
        guard=guard,
    )


def _hosts(
    options: Options,
    groups: dict[str, frozenset[str]],
    *,
    random: Random,
    now_s: Callable[[], float],
    guard: Guard,
) -> Ground:
    from .cluster.hostfleet import HostFleet  # whose relay has more to import
    from .cluster.schedule import draw_host_faults
    from .cluster.upgrading import UpgradingFleet

    names = ascii_lowercase[: options.hosts]
    faults = draw_host_faults(
        random,
        seconds=options.seconds,
        hosts=names,
        ranges=options.workers,
        kills_per_minute=options.kills_per_minute,
        moves_per_minute=MOVES_PER_MINUTE,
        drains_per_minute=DRAINS_PER_MINUTE,
    )
    fleet: Callable[..., HostFleet] = HostFleet
    if options.upgrade is not None:
        fleet, faults = partial(UpgradingFleet, older=options.upgrade), []
    return fleet(
        names=names,
        ranges=options.workers,
        fronts=options.fronts,
        config=CONFIG + GATHERING[options.gather],
        groups=groups,
        faults=faults,
        random=random,
        sabotage=options.sabotage,
        keep=options.keep,
        now_s=now_s,
        guard=guard,
    )


def _chats(
    name: str, names: list[str], groups: dict[str, frozenset[str]], random: Random
) -> list[str]:
    """Return whom a user writes to: some users (perhaps itself), and its groups twice as often."""
    mine = sorted(jid for jid, members in groups.items() if name in members)
    return random.sample(names, min(6, len(names))) + mine * 2


def _list(counts: dict[Any, int]) -> str:
    return "  ".join(f"{name} {count:,}" for name, count in counts.items())


def banner(options: Options) -> str:
    """Return what will be run, in one line that tells how to run it again."""
    fields = {
        name.replace("_", "-"): value for name, value in msgspec.structs.asdict(options).items()
    }
    flags = ("reshard", "tls", "tokens")
    others = ("keep", "sabotage", "upgrade", *flags, *([] if options.hosts else ["hosts"]))
    parts = ["chaos", *(f"--{n} {v}" for n, v in fields.items() if n not in others)]
    parts += [f"--{name}" for name in flags if fields[name]]
    if options.sabotage:
        parts.append(f"--sabotage {options.sabotage}")
    if options.upgrade:
        parts.append(f"--upgrade {options.upgrade}")
    return " ".join(parts)


def to_stdout(line: str) -> None:
    """Write a line where people and logs see it at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
