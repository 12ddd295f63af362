"""A day in the life: users come and go, write to friends and groups, and read what came."""

import asyncio
import time
from collections.abc import Callable

from relay.loadgen.traffic.logins import LOGINS_AT_ONCE, Logins
from relay.loadgen.traffic.people import circles_of, community
from relay.loadgen.traffic.plan import LOGIN, SETTLE, WARM_UP, Mixed, Phase
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.timer import Timer
from relay.loadgen.traffic.visit import Traffic, Visit
from relay.loadgen.verify.clientframes import Delivered
from relay.loadgen.verify.ledger import READ
from relay.loadgen.verify.streams import Sent, Stream

FRIENDS = 5
GROUP_AUTHORS = 2  # of each group; the others listen, and show its order
TO_A_GROUP = 0.15  # of messages
READ_SHARE = 0.6  # of messages
READ_AFTER_S = (0.1, 1.0)
WITHOUT_GOODBYE = 0.3  # of departures: as if the battery had died
# Authors whose relay does not answer write no more than this.
MOST_UNFINISHED = 50_000
_TRIES = 10


class MixedTraffic(Traffic):
    """One community."""

    def __init__(self, share: Share, scenario: Mixed, units: range) -> None:
        self._share = share
        self._scenario = scenario
        self._random = share.random
        self._users = community(share.plan, units)
        self._rate = scenario.rate * len(self._users) / scenario.users
        self._chats: dict[str, list[Stream]] = {}
        self._groups: list[Stream] = []
        self._is_going_on = False
        self._phase = Phase("")
        ledger = share.ledger
        for user in self._users:
            others = [other for other in self._users if other != user]
            friends = self._random.sample(others, min(FRIENDS, len(others)))
            self._chats[user] = [ledger.open_chat(user, friend) for friend in friends]
        for circle in circles_of(share.plan, units):
            for author in circle.members[:GROUP_AUTHORS]:
                self._groups.append(ledger.open_group(author, circle.local, circle.members))

    def begin(self, phase: Phase) -> None:
        """Log all in, start the day, or have everyone come home."""
        self._phase = phase
        if phase.name == LOGIN:
            self._logins = Logins(self._share, self._users, at_once=LOGINS_AT_ONCE)
            self._logins.begin()
        elif phase.name == WARM_UP:
            self._is_going_on = True
            self._due_ns = time.monotonic_ns()
            self._timer = Timer(self._write)
            self._timer.at(self._due_ns)
            for user in self._users:
                self._later(self._scenario.online_s, self._depart, user)
        elif phase.name == SETTLE:
            self._is_going_on = False
            self._timer.close()
            for user in self._users:
                self._share.connect(user)

    def is_done(self) -> bool:
        """Whether all are in, and everything has arrived."""
        if self._phase.name == LOGIN:
            return self._logins.are_done
        everyone_is_in = len(self._share.visits) == len(self._users)
        return everyone_is_in and not self._share.ledger.unfinished

    def logged_in(self, visit: Visit) -> None:
        """Let the next one in; or stay for a while."""
        if visit.party.logins == 1:
            self._logins.one_is_in()
        elif self._is_going_on:
            self._later(self._scenario.online_s, self._depart, visit.party.user)

    def delivered(self, visit: Visit, element: Delivered, sent: Sent) -> None:
        """Perhaps read it, after a while."""
        if self._random.random() < READ_SHARE:
            after_s = self._random.uniform(*READ_AFTER_S)
            asyncio.get_running_loop().call_later(after_s, self._read, visit, element)

    def _read(self, visit: Visit, element: Delivered) -> None:
        if visit.is_open and visit.is_logged_in and not visit.is_leaving:
            self._share.tally.counts.reads_sent += 1
            visit.ack(element, READ)
            visit.flush()

    def _depart(self, user: str) -> None:
        visit = self._share.visits.get(user)
        if visit is None or not self._is_going_on:
            return  # where the relay ended it: whoever comes back departs later
        visit.leave(goodbye=self._random.random() >= WITHOUT_GOODBYE)
        self._later(self._scenario.away_s, self._return, user)

    def _return(self, user: str) -> None:
        if self._is_going_on:
            self._share.connect(user)

    def _write(self) -> None:
        share, random = self._share, self._random
        now_ns = time.monotonic_ns()
        while self._due_ns <= now_ns:
            stream = self._next_stream()
            if share.ledger.unfinished < MOST_UNFINISHED and share.post(stream, self._due_ns):
                share.visits[stream.author.user].flush()
            self._due_ns += int(random.expovariate(self._rate) * 1e9)
        self._timer.at(self._due_ns)

    def _next_stream(self) -> Stream:
        """Return a stream whose author is online, if a few tries find one."""
        random = self._random
        to_group = self._groups and random.random() < TO_A_GROUP
        for _ in range(_TRIES):
            if to_group:
                stream = random.choice(self._groups)
            else:
                stream = random.choice(self._chats[random.choice(self._users)])
            if stream.author.user in self._share.visits:
                break
        return stream

    def _later(self, mean_s: float, what: Callable[[str], None], user: str) -> None:
        after_s = self._random.expovariate(1 / mean_s)
        asyncio.get_running_loop().call_later(after_s, what, user)
