"""What operators wish of the supervisor, through the admin or by SIGHUP: fulfilled, and answered.

An agent wishes too, when another host has made other groups or another accord. Rolls and drains are
the fleet's. What is read again is here: the files of this host (relay.supervision.reload), which in
a cluster are to hold on all hosts (relay.supervision.sharing).
"""

from __future__ import annotations

from functools import partial
from typing import Final, assert_never

from relay import log
from relay.process.control import AccordWanted, Outcome, Wish
from relay.supervision.actions import Instruct
from relay.supervision.children import Children
from relay.supervision.course import Course
from relay.supervision.events import (
    AccordAsked,
    Asker,
    DrainAsked,
    GroupsTaken,
    RollAsked,
    SettingsTaken,
)
from relay.supervision.notice import READY, give_notice, reloading
from relay.supervision.reload import InForce, Report
from relay.supervision.sharing import Sharing, Taken, Wanted

# Between two tries to reload by a signal, while something else is under way.
RELOAD_AGAIN_S: Final = 1.0
# For an agent to say whether a majority has what is to be shared: it gives up sooner by itself.
SHARED_WITHIN_S: Final = 20.0


class Wishes:
    """Those of the operators of one supervisor."""

    def __init__(
        self, course: Course, children: Children, in_force: InForce, sharing: Sharing | None
    ) -> None:
        """`sharing` is None without a cluster."""
        self._course = course
        self._children = children
        self._in_force = in_force
        self._sharing = sharing
        self._reload_asked = False  # by a signal, and not begun

    def fulfil(self, incarnation: int, wish: Wish) -> None:
        """Do what a process wishes for an operator, and say what came of it."""
        by = Asker(incarnation, wish.number)
        match wish.what:
            case "reload" | "groups" | "accord":
                said = Outcome(wish.number, "failed", "it rolls or stops: try again after that")
                if not self._course.fleet.is_rolling and not self._course.fleet.is_stopping:
                    self._in_force.take_report()
                    if wish.what == "reload":
                        self._reload(by)
                    elif wish.what == "groups":
                        self._took(Taken(groups=self._in_force.reload_groups()))
                    elif self._sharing is not None:
                        self._took(self._sharing.take())
                    said = _outcome_of(wish.number, self._in_force.take_report())
                if not self._is_asking_for(by):  # else that is told when it is settled
                    self._tell(by, said)
            case "roll":
                self._course.happened(RollAsked(by))
            case "drain":
                self._course.happened(DrainAsked(wish.role, wish.index, by))
            case "workers":
                self._tell(by, self._in_force.want_workers(wish.number, wish.index))
            case _:
                assert_never(wish.what)

    def _tell(self, by: Asker, said: Outcome) -> None:
        if self._children.is_connected(by.incarnation):
            self._course.carry_out([Instruct(by.incarnation, said)])

    # --- a reload ---

    def reload(self) -> None:
        """Have the files read again soon, as for SIGHUP; many at once are one."""
        if not self._reload_asked:
            self._reload_asked = True
            self._course.soon(self._reload)

    def _reload(self, by: Asker | None = None) -> None:
        asks = self._sharing is not None and self._sharing.wanted is not None
        if self._course.fleet.is_rolling or (asks and by is None):
            # Those that are still of the version before would not know what is new in them. And a
            # signal that comes while the other hosts are asked is one more.
            self._course.later(RELOAD_AGAIN_S, self._reload)
            return
        self._reload_asked = False
        give_notice(reloading())
        if self._sharing is None:
            # Apart, so that neither file keeps the other from being taken. The limits come first:
            # they hold for the groups of the same signal.
            self._took(Taken(settings=self._in_force.reload_settings()))
            self._took(Taken(groups=self._in_force.reload_groups()))
        elif isinstance(found := self._sharing.begin(by), Wanted):
            self._share(self._sharing, found)
            return
        else:
            self._took(found)
        self._has_reloaded()

    def _took(self, taken: Taken) -> None:
        """Let the children know."""
        if taken.settings:
            settings = self._in_force.settings
            log.reconfigure(settings.log.format, settings.log.level)
            self._course.happened(SettingsTaken(settings))
        if taken.groups:
            self._course.happened(GroupsTaken())

    def _has_reloaded(self) -> None:
        if self._course.fleet.has_served:
            give_notice(READY)

    # --- what is to hold on all hosts of a cluster ---

    def _share(self, sharing: Sharing, wanted: Wanted) -> None:
        """Have the agent ask for a majority; `settle` goes on."""
        origin = sharing.origin
        asked = AccordWanted(wanted.number, (origin.number, origin.by, origin.at_ms))
        if not self._course.happened(AccordAsked(asked)):
            refusal = "there is no agent just now: try again"
            self._course.soon(partial(self.settle, wanted.number, refusal))
            return
        late = f"no answer of the cluster in {SHARED_WITHIN_S:g} s; it may hold nevertheless"
        self._course.later(SHARED_WITHIN_S, partial(self.settle, wanted.number, late))

    def settle(self, number: int, refusal: str) -> None:
        """Take what became of what the agent was asked, unless that was settled before.

        `refusal` is "" where all hosts have it.
        """
        kept = self._in_force.take_report()
        settled = self._sharing.settle(number, refusal) if self._sharing is not None else None
        if settled is None:
            self._in_force.report = kept
            return
        taken, wanted = settled
        self._took(taken)
        report = self._in_force.take_report()
        if wanted.by is not None:
            self._tell(wanted.by, _outcome_of(wanted.by.number, report))
        self._has_reloaded()

    def _is_asking_for(self, by: Asker) -> bool:
        wanted = self._sharing.wanted if self._sharing is not None else None
        return wanted is not None and wanted.by == by


def _outcome_of(number: int, report: Report) -> Outcome:
    taken, refusals = report
    if refusals:
        return Outcome(number, "failed", "; ".join([*refusals, *taken]))
    return Outcome(number, "done", "; ".join(taken) or "there is no file to read")
