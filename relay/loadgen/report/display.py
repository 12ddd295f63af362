"""The live line of a run: phase, time or amount, rate, latency, faults."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from relay.loadgen.report.record import Interval
from relay.loadgen.traffic.plan import (
    DRAIN,
    FILL,
    LOGIN,
    STORM,
    Offline,
    Phase,
    Plan,
    Storm,
    sessions_of,
)
from relay.loadgen.verify.tally import ACK, LOGIN_TIME

_REDRAWS_A_S: Final = 4  # each costs the load's CPU about a millisecond


class Display:
    """Draws on a terminal; writes one line a phase where there is none."""

    def __init__(self, console: Console, plan: Plan, *, title: str) -> None:
        self._console = console
        self._plan = plan
        self._title = title
        self._task: TaskID | None = None
        self._phase = Phase("")
        self._done = 0
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[told]}"),
            console=console,
            refresh_per_second=_REDRAWS_A_S,
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def phase_begins(self, phase: Phase) -> None:
        """Start a bar: of the phase's time, or of how much there is to do."""
        self._phase = phase
        self._done = 0
        if not self._console.is_terminal:
            length = f" {phase.seconds:g} s" if phase.seconds is not None else ""
            self._console.print(f"{self._title}: {phase.name}{length}")
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
        name = f"{self._title}: {phase.name}"
        self._task = self._progress.add_task(name, total=self._total(phase), told="")

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        """Show the second that is over."""
        if self._task is None or interval.phase != self._phase.name:
            return
        counts, seconds = interval.counts, interval.seconds or 1.0
        if self._phase.seconds is not None:
            self._done += round(seconds * 1000)
        elif self._phase.name == FILL:
            self._done += counts.stored
        elif self._phase.name == DRAIN:
            self._done += counts.completed
        else:
            self._done += counts.logins
        self._progress.update(self._task, completed=self._done, told=_told(interval, unfinished))

    def _total(self, phase: Phase) -> int | None:
        scenario = self._plan.scenario
        if phase.seconds is not None:
            return round(phase.seconds * 1000)
        if phase.name in (FILL, DRAIN) and isinstance(scenario, Offline):
            return scenario.messages
        if phase.name == LOGIN and isinstance(scenario, Offline):
            return scenario.users
        if isinstance(scenario, Storm):
            return {LOGIN: 2 * scenario.pairs, STORM: scenario.logins}.get(phase.name)
        return sessions_of(scenario) if phase.name == LOGIN else None


def _told(interval: Interval, unfinished: int) -> str:
    counts, seconds = interval.counts, interval.seconds or 1.0
    parts = []
    if counts.logins:
        parts.append(f"logins {counts.logins / seconds:,.0f}/s")
    if counts.sent or counts.completed:
        parts.append(f"sent {counts.sent / seconds:,.0f}/s")
        parts.append(f"complete {counts.completed / seconds:,.0f}/s")
    for name, label in ((ACK, "ack 1"), (LOGIN_TIME, "login")):
        if (quantiles := interval.latencies.get(name)) is not None:
            parts.append(f"{label} p50 {quantiles.p50:.1f} p99 {quantiles.p99:.1f} ms")
            break
    parts.append(f"online {interval.online:,}")
    if unfinished:
        parts.append(f"under way {unfinished:,}")
    if interval.faults:
        parts.append(f"[bold red]faults {interval.faults:,}[/]")
    return "  ".join(parts)
