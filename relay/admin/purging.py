"""A purge of what waits: by a tool here, and in a cluster on each host that owns a part of it.

Who is asked has the others begin, and asks how they go on. Where its admin ends amid that, they do
theirs to the end; whoever asks for the same again hears what is left.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import Final, NamedTuple

from relay import log
from relay.admin.asker import Seat, Silence
from relay.admin.operations import Operation
from relay.admin.tools import Done, Say, ToolFailed
from relay.admin.view import View
from relay.inquiries.purging import AskShare, BeginPurge, ShareSeen

_AGAIN_S: Final = 0.2
# So long another host may say nothing before nobody knows what has become of its share.
_PATIENCE_S: Final = 15.0


class Which(NamedTuple):
    """What is to go, as `Purge` of the API says it: of a local part, or what waits for longer."""

    user: str
    older_than_s: int | None
    dry_run: bool

    def __str__(self) -> str:
        return " ".join(self.arguments)

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the tool is told."""
        what = ("--user", self.user) if self.user else ("--older-than", f"{self.older_than_s}s")
        return (*what, "--dry-run") if self.dry_run else what


async def purge(view: View, which: Which, say: Say) -> Done:
    """Purge on all hosts that own a part of it; without a cluster here.

    Raises:
        ToolFailed: not all could be done; the reason says what was.
        OSError: the tool cannot be started.
    """
    if not view.asker.host:
        return await view.tools.run(say, "purge", str(view.place.data_dir), *which.arguments)
    shares: dict[str, list[int]] = defaultdict(list)
    seats = [view.asker.owner_of(which.user)] if which.user else view.asker.everywhere("worker")
    for seat in seats:
        if not seat.host and view.asker.who_is(seat) is None:
            raise ToolFailed(f"range {seat.index} is owned by nobody just now: ask again")
        shares[seat.host].append(seat.index)
    far: dict[str, str] = {}

    async def share(host: str, workers: list[int]) -> Done | ToolFailed | OSError:
        def say_of(detail: str) -> None:
            far[host] = detail
            say("; ".join(f"host {name or view.asker.host}: {far[name]}" for name in sorted(far)))

        try:
            if host:
                return await _share_of(view, which, host, workers, say_of)
            return await view.tools.run(say_of, *_arguments(view, which, workers))
        except (ToolFailed, OSError) as error:
            return error

    hosts = sorted(shares)
    ends = await asyncio.gather(*(share(host, shares[host]) for host in hosts))
    return _together({host or view.asker.host: end for host, end in zip(hosts, ends, strict=True)})


def begin_share(view: View, which: Which, workers: list[int], *, by: str) -> Operation:
    """Begin, for another host, to purge what is of ranges that are owned here.

    Raises:
        ToolRuns: another tool is under way.
    """

    async def work(say: Say) -> Done:
        for index in workers:
            if view.asker.who_is(Seat("worker", index)) is None:
                raise ToolFailed(f"range {index} is owned elsewhere by now: ask again")
        return await view.tools.run(say, *_arguments(view, which, workers))

    operation = view.tools.begin(f"purge {which}", work)
    log.get_logger().info("admin.acted", action=operation.what, by=by, operation=operation.id)
    return operation


def _arguments(view: View, which: Which, workers: list[int]) -> tuple[str, ...]:
    ranges = ",".join(map(str, workers))
    return ("purge", str(view.place.data_dir), *which.arguments, "--workers", ranges)


async def _share_of(view: View, which: Which, host: str, workers: list[int], say: Say) -> Done:
    """Have another host purge, and wait for its end.

    Raises:
        ToolFailed: it has not, or nobody knows.
    """
    admin = Seat("admin", 0, host)
    by = f"the admin of {view.asker.host}"
    wanted = BeginPurge(workers, which.user, which.older_than_s, which.dry_run, by)
    seen = await view.asker.ask(admin, wanted)
    if isinstance(seen, Silence):
        raise ToolFailed(f"it was not asked, or has not said that it was: {seen.reason}")
    loop = asyncio.get_running_loop()
    heard_s = loop.time()
    while seen.state == "running":
        say(seen.detail)
        await asyncio.sleep(_AGAIN_S)
        answer = await view.asker.ask(admin, AskShare(seen.id))
        if isinstance(answer, ShareSeen):
            seen, heard_s = answer, loop.time()
        elif loop.time() - heard_s > _PATIENCE_S:
            raise ToolFailed(f"nobody knows what became of it: {answer.reason}")
    if seen.state == "failed":
        raise ToolFailed(seen.detail)
    return Done(seen.detail, seen.counts)


def _together(ends: dict[str, Done | ToolFailed | OSError]) -> Done:
    """Return what all have done.

    Raises:
        ToolFailed: one has not.
    """
    counts: Counter[str] = Counter()
    lines = []
    failed = False
    for host, end in ends.items():
        if isinstance(end, Done):
            counts.update(end.counts)
            lines.append(f"host {host}: {end.detail}")
        else:
            failed = True
            lines.append(f"host {host}: failed: {end}")
    if failed:
        raise ToolFailed("; ".join(lines))
    return Done("; ".join(lines), dict(counts))
