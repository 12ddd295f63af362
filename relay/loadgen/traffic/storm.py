"""Logins, and sockets that are held."""

from relay.loadgen.traffic.logins import LOGINS_AT_ONCE, Logins
from relay.loadgen.traffic.people import user_name
from relay.loadgen.traffic.plan import HOLD, Phase, Storm, sessions_of
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.visit import Traffic, Visit


class StormTraffic(Traffic):
    """Everyone logs in, as fast as accepted or at a rate."""

    def __init__(self, share: Share, scenario: Storm, units: range) -> None:
        fraction = len(units) / scenario.logins
        users = [user_name(share.plan.seed, number) for number in units]
        at_once = max(1, round(scenario.at_once * fraction))
        self._logins = Logins(share, users, at_once=at_once, rate=scenario.rate * fraction)

    def begin(self, phase: Phase) -> None:
        """Start."""
        self._logins.begin()

    def is_done(self) -> bool:
        """Whether all are in."""
        return self._logins.are_done

    def logged_in(self, visit: Visit) -> None:
        """Let the next one in."""
        if visit.party.logins == 1:
            self._logins.one_is_in()


class IdleTraffic(StormTraffic):
    """Everyone logs in and stays."""

    def __init__(self, share: Share, units: range) -> None:
        storm = Storm(logins=sessions_of(share.plan.scenario), at_once=LOGINS_AT_ONCE)
        super().__init__(share, storm, units)

    def begin(self, phase: Phase) -> None:
        """Log in, or hold."""
        if phase.name != HOLD:
            super().begin(phase)
