"""One process of a run: `python -m relay.loadgen.run.player`, started by the conductor.

It reads its assignment and then orders from stdin, reports to stdout, and ends when either does.
"""

import asyncio
import gc
import os
import resource
import signal
import sys
import time
from typing import Final, assert_never

import uvloop

from relay.loadgen.report.histogram import Histogram
from relay.loadgen.run.orders import (
    Assignment,
    Begin,
    Done,
    Finish,
    IntervalReport,
    PlayerReport,
    Unexpected,
    Verdict,
    line,
    read_assignment,
    read_order,
)
from relay.loadgen.traffic.plan import Mixed, parts_of, phases_of
from relay.loadgen.traffic.repertoire import traffic_for
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.socketwire import Target
from relay.loadgen.traffic.trouble import Trouble

TICK_S: Final = 1.0
_LOOK_S: Final = 0.02  # how often a player looks whether its part of a phase is over
_LINGER_S: Final = 0.3  # what comes after the last expected frame is a duplicate
_MAX_LINE_BYTES: Final = 64 * 1024 * 1024
_PIPE_BYTES: Final = 1 << 30
_GC_THRESHOLD: Final = 50_000


class Player:
    """Carries out orders with one `Share`."""

    def __init__(self, assignment: Assignment, out: asyncio.WriteTransport) -> None:
        plan = assignment.plan
        units = parts_of(plan)[assignment.index]
        self._phases = phases_of(plan)
        self._phase = 0
        self._out = out
        self._share = Share(
            plan,
            Target(assignment.url, assignment.trust),
            run=assignment.run,
            index=assignment.index,
            rich_texts=isinstance(plan.scenario, Mixed),
            tokens=assignment.tokens,
            token_key=assignment.token_key,
            trouble=Trouble(lambda what: self._send(Unexpected(what))),
        )
        self._share.traffic = traffic_for(self._share, units)
        self._loop = asyncio.get_running_loop()
        self._tick: asyncio.TimerHandle | None = None
        self._reported_s = time.monotonic()

    def ready(self) -> None:
        """Say that everything is loaded."""
        self._send(Done(-1))

    def begin(self, number: int) -> None:
        """Enter a phase."""
        self._report_progress()
        self._phase = number
        phase = self._phases[number]
        self._share.is_measuring = phase.measured
        self._share.traffic.begin(phase)
        self._loop.call_later(_LOOK_S, self._look, number)

    async def finish(self, *, is_cut_short: bool) -> None:
        """Judge and report."""
        await asyncio.sleep(_LINGER_S)
        faults = self._share.ledger.close(is_cut_short=is_cut_short)
        self._report_progress()
        self._send(Verdict(faults))
        await self._share.leave()

    def _look(self, number: int) -> None:
        if number != self._phase:
            return
        if self._phases[number].seconds is None and self._share.traffic.is_done():
            self._send(Done(number))
            return
        self._loop.call_later(_LOOK_S, self._look, number)

    def _report_progress(self) -> None:
        if self._tick is not None:
            self._tick.cancel()
        share = self._share
        share.tick()
        now_s = time.monotonic()
        counts, values = share.tally.take()
        latencies = {}
        for name, micros in values.items():
            histogram = Histogram()
            histogram.record(micros)
            latencies[name] = histogram.encode()
        self._send(
            IntervalReport(
                phase=self._phase,
                seconds=now_s - self._reported_s,
                counts=counts,
                latencies=latencies,
                online=len(share.visits),
                unfinished=share.ledger.unfinished,
                faults=share.ledger.faults.total,
                trouble=share.trouble.latest,
            )
        )
        self._reported_s = now_s
        self._tick = self._loop.call_later(TICK_S, self._report_progress)

    def _send(self, report: PlayerReport) -> None:
        self._out.write(line(report))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=_MAX_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    out, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sys.stdout)
    # Reports wait here, not in the loop, while the conductor is busy.
    out.set_write_buffer_limits(high=_PIPE_BYTES)
    assignment = read_assignment(await orders.readline())
    if assignment.cpus:
        os.sched_setaffinity(0, assignment.cpus)
    player = Player(assignment, out)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 50, 50)
    player.ready()
    while text := await orders.readline():
        order = read_order(text)
        match order:
            case Begin():
                player.begin(order.phase)
            case Finish():
                await player.finish(is_cut_short=order.is_cut_short)
                break
            case _:
                assert_never(order)
    out.close()
    # Whoever reads the pipe gets everything: the transport closes only when it is empty.
    while out.get_write_buffer_size():
        await asyncio.sleep(_LOOK_S)


def main() -> int:
    """Run until the conductor says that it is over, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is the conductor's
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(_serve())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
