"""A stop in order: the fronts first, then the workers, which outlast them, and the admin.

In a cluster the agent comes after them, which tells the other hosts, and its log's server last.
"""

from __future__ import annotations

from typing import Final

from relay.process.control import Stop
from relay.supervision.actions import Action, Exit, Log, SetTimer, instruct, kill
from relay.supervision.events import StopDue
from relay.supervision.seats import Role, Seats

# The part of the stop deadline that is the fronts'; the workers have the rest.
FRONTS_SHARE: Final = 0.75
# The patience that a second SIGINT leaves.
HURRY_S: Final = 1.0
# What agent and engine have at least, which have little to do.
LAST_S: Final = 2.0
# Who is told together, once those before have gone.
LAYERS: Final[tuple[tuple[Role, ...], ...]] = (
    ("front",),
    ("worker", "admin"),  # the admin tells how the stop gets on until then
    ("agent",),
    ("engine",),
)


class Stopping:
    """One stop under way; when all are gone, the supervisor exits with `exit_code`."""

    def __init__(self, seats: Seats, *, exit_code: int, deadline_s: float, now_s: float) -> None:
        self._seats = seats
        self._exit_code = exit_code
        self._deadline_s = deadline_s
        self._stop_by_s = now_s + deadline_s
        self._told: set[Role] = set()

    def begin(self) -> list[Action]:
        """Tell the fronts; `go_on` carries on as they go."""
        share_s = self._deadline_s * FRONTS_SHARE
        self._told.add("front")
        return [
            *instruct(self._seats.children("front"), Stop(share_s)),
            SetTimer(share_s, StopDue("front")),
            SetTimer(self._deadline_s, StopDue("worker")),
        ]

    def hurry(self, *, now_s: float) -> list[Action]:
        """Tell the workers too, at once, and wait for nobody longer than HURRY_S."""
        self._stop_by_s = min(self._stop_by_s, now_s + HURRY_S)
        return [
            *self._tell(("worker", "admin"), now_s),
            SetTimer(HURRY_S, StopDue("front")),
            SetTimer(HURRY_S, StopDue("worker")),
        ]

    def overdue(self, role: Role) -> list[Action]:
        """Kill who is still there of `role`."""
        layer = next(each for each in LAYERS if role in each)
        actions: list[Action] = []
        for child in self._seats.children():
            if child.role in layer:
                fields = {"index": child.index, "pid": child.pid}
                actions += [Log("warning", f"{child.role}.stop_overdue", fields), kill(child)]
        return actions

    def go_on(self, *, now_s: float) -> list[Action]:
        """Return what follows when a layer is gone; to be asked whenever somebody has gone."""
        for layer in LAYERS:
            if any(self._seats.children(role) for role in layer):
                return self._tell(layer, now_s)
        return [Exit(self._exit_code)]

    def _tell(self, layer: tuple[Role, ...], now_s: float) -> list[Action]:
        if self._told.issuperset(layer):
            return []
        self._told.update(layer)
        left_s = max(0.0, self._stop_by_s - now_s)
        actions: list[Action] = []
        if "worker" not in layer:  # whose timer runs from the beginning on
            left_s = max(LAST_S, left_s)
            actions += [SetTimer(left_s, StopDue(role)) for role in layer]
        told = [each for each in self._seats.children() if each.role in layer]
        return instruct(told, Stop(left_s)) + actions
