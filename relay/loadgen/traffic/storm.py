"""Logins, and sockets that are held."""

from relay.loadgen.traffic.exchange import ChatTraffic
from relay.loadgen.traffic.logins import LOGINS_AT_ONCE, Logins
from relay.loadgen.traffic.people import user_name
from relay.loadgen.traffic.plan import HOLD, SETTLE, STORM, Chat, Phase, Storm, sessions_of
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.visit import Traffic, Visit
from relay.loadgen.verify.streams import Sent


class StormTraffic(Traffic):
    """Everyone logs in, as fast as accepted or at a rate, beside pairs who came before."""

    def __init__(self, share: Share, scenario: Storm, units: range) -> None:
        mine = range(units.start, min(units.stop, scenario.logins))
        fraction = len(mine) / scenario.logins
        users = [user_name(share.plan.seed, number) for number in mine]
        at_once = max(1, round(scenario.at_once * fraction))
        self._logins = Logins(share, users, at_once=at_once, rate=scenario.rate * fraction)
        chat = Chat(pairs=max(1, scenario.pairs), rate=scenario.pairs * scenario.pair_rate)
        pairs = range(max(0, units.start - scenario.logins), max(0, units.stop - scenario.logins))
        self._pairs = ChatTraffic(share, chat, pairs, first_user=scenario.logins)
        self._phase = Phase("")

    def begin(self, phase: Phase) -> None:
        """Have the pairs come, the others besides, or the pairs end."""
        self._phase = phase
        if phase.name == STORM:
            self._pairs.start()
            self._logins.begin()
            return
        if phase.name == SETTLE:
            self._logins.end()  # an interrupt may have left some
        self._pairs.begin(phase)

    def is_done(self) -> bool:
        """Whether all are in, or what the pairs wrote has arrived."""
        return self._logins.are_done if self._phase.name == STORM else self._pairs.is_done()

    def logged_in(self, visit: Visit) -> None:
        """Let the next one in."""
        if visit.party.user in self._pairs.users:
            self._pairs.logged_in(visit)
        elif visit.party.logins == 1:
            self._logins.one_is_in()

    def completed(self, sent: Sent) -> None:
        """Tell the pairs."""
        self._pairs.completed(sent)


class IdleTraffic(Traffic):
    """Everyone logs in and stays."""

    def __init__(self, share: Share, units: range) -> None:
        users = [user_name(share.plan.seed, number) for number in units]
        at_once = max(1, round(LOGINS_AT_ONCE * len(units) / sessions_of(share.plan.scenario)))
        self._logins = Logins(share, users, at_once=at_once)

    def begin(self, phase: Phase) -> None:
        """Log in, or hold."""
        if phase.name != HOLD:
            self._logins.begin()

    def is_done(self) -> bool:
        """Whether all are in."""
        return self._logins.are_done

    def logged_in(self, visit: Visit) -> None:
        """Let the next one in."""
        if visit.party.logins == 1:
            self._logins.one_is_in()
