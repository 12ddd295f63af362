"""Logins, and sockets that are held."""

from relay.loadgen.people import user_name
from relay.loadgen.plan import HOLD, Phase, Storm, sessions_of
from relay.loadgen.session import Session
from relay.loadgen.share import Logins, Share, Traffic
from relay.loadgen.traffic.exchange import LOGINS_AT_ONCE


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

    def logged_in(self, session: Session) -> None:
        """Let the next one in."""
        if session.party.logins == 1:
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
