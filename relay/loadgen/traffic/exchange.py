"""Users who are all online: pairs that chat, and groups. Closed or open loop."""

import time

from relay.loadgen.traffic.logins import LOGINS_AT_ONCE, Logins
from relay.loadgen.traffic.people import circles_of, user_name
from relay.loadgen.traffic.plan import LOGIN, SETTLE, WARM_UP, Chat, Group, Phase
from relay.loadgen.traffic.sendtimes import intended_sends
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.timer import Timer
from relay.loadgen.traffic.visit import Traffic, Visit
from relay.loadgen.verify.streams import Sent, Stream
from relay.loadgen.verify.tally import LATE


class OpenLoop:
    """Posts messages at the times of a schedule, however the relay keeps up."""

    def __init__(self, share: Share, streams: list[Stream], scenario: Chat | Group) -> None:
        self._share = share
        self._streams = streams
        self._scenario = scenario
        self._timer: Timer | None = None

    def begin(self, rate: float) -> None:
        """Start sending, `rate` messages a second in all."""
        self._sends = intended_sends(
            start_ns=time.monotonic_ns(),
            rate=rate,
            senders=len(self._streams),
            arrivals=self._scenario.arrivals,
            random=self._share.random,
        )
        self._due_ns, self._sender = next(self._sends)
        self._timer = Timer(self._post_due)
        self._timer.at(self._due_ns)

    def end(self) -> None:
        """Stop sending."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def _post_due(self) -> None:
        now_ns = time.monotonic_ns()
        share = self._share
        touched: list[Visit] = []
        while self._due_ns <= now_ns:
            stream = self._streams[self._sender]
            visit = share.visits.get(stream.author.user)
            if visit is not None:
                share.post(stream, self._due_ns)
                touched.append(visit)
            if share.is_measuring:
                share.tally.latencies[LATE].append((now_ns - self._due_ns) // 1000)
            self._due_ns, self._sender = next(self._sends)
        for visit in touched:
            visit.flush()
        if self._timer is not None:
            self._timer.at(self._due_ns)


class Exchange(Traffic):
    """Streams among users who stay online."""

    def __init__(self, share: Share, scenario: Chat | Group, *, fraction: float) -> None:
        self._share = share
        self._window = scenario.window
        self._rate = scenario.rate * fraction
        self.streams: list[Stream] = []
        self.users: list[str] = []
        self._open_loop = OpenLoop(share, self.streams, scenario)
        self._is_sending = False

    def begin(self, phase: Phase) -> None:
        """Log in, start, or stop."""
        if phase.name == LOGIN:
            self._logins = Logins(self._share, self.users, at_once=LOGINS_AT_ONCE)
            self._logins.begin()
        elif phase.name == WARM_UP:
            self.start()
        elif phase.name == SETTLE:
            self._is_sending = False
            self._open_loop.end()
        self._phase = phase

    def is_done(self) -> bool:
        """Whether all are in, or everything has arrived."""
        return (
            self._logins.are_done
            if self._phase.name == LOGIN
            else not self._share.ledger.unfinished
        )

    def logged_in(self, visit: Visit) -> None:
        """Let the next one in."""
        if visit.party.logins == 1:
            self._logins.one_is_in()

    def completed(self, sent: Sent) -> None:
        """In a closed loop, write the next message."""
        if self._is_sending:
            stream = sent.stream
            self._share.post(stream, time.monotonic_ns())

    def start(self) -> None:
        """Send from now on."""
        if self._rate:
            self._open_loop.begin(self._rate)
            return
        self._is_sending = True
        for stream in self.streams:
            for _ in range(self._window):
                self._share.post(stream, time.monotonic_ns())
            if visit := self._share.visits.get(stream.author.user):
                visit.flush()


class ChatTraffic(Exchange):
    """Pairs: the first of each writes to the second. Users are numbered from `first_user` on."""

    def __init__(self, share: Share, scenario: Chat, units: range, *, first_user: int = 0) -> None:
        super().__init__(share, scenario, fraction=len(units) / scenario.pairs)
        for pair in units:
            numbers = (first_user + 2 * pair, first_user + 2 * pair + 1)
            author, recipient = (user_name(share.plan.seed, number) for number in numbers)
            self.users += author, recipient
            self.streams.append(share.ledger.open_chat(author, recipient))


class GroupTraffic(Exchange):
    """Groups: the first members of each write."""

    def __init__(self, share: Share, scenario: Group, units: range) -> None:
        super().__init__(share, scenario, fraction=len(units) / scenario.groups)
        for circle in circles_of(share.plan, units):
            self.users += circle.members
            self.streams += (
                share.ledger.open_group(author, circle.local, circle.members)
                for author in circle.members[: scenario.senders]
            )
