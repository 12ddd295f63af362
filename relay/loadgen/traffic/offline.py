"""Mailboxes are filled while their users are away; then the users log in and drain them."""

import time
from collections import defaultdict

from relay.loadgen.traffic.logins import LOGINS_AT_ONCE, Logins
from relay.loadgen.traffic.people import user_name
from relay.loadgen.traffic.plan import DRAIN, FILL, LOGIN, Offline, Phase, share_of
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.visit import Traffic, Visit
from relay.loadgen.verify.clientframes import Delivered
from relay.loadgen.verify.streams import Sent, Stream
from relay.loadgen.verify.tally import DRAIN_TIME


class OfflineTraffic(Traffic):
    """Pairs of which the second is away until the last phase."""

    def __init__(self, share: Share, scenario: Offline, units: range) -> None:
        self._share = share
        self._window = scenario.window
        self._authors: list[str] = []
        self._recipients: list[str] = []
        self._to_send: dict[Stream, int] = {}
        self._to_come: dict[str, int] = defaultdict(int)
        self._unstored = 0
        self._phase = Phase("")
        for pair in units:
            author, recipient = (user_name(share.plan.seed, 2 * pair + i) for i in range(2))
            self._authors.append(author)
            self._recipients.append(recipient)
            messages = len(share_of(scenario.messages, pair, scenario.users))
            self._to_send[share.ledger.open_chat(author, recipient)] = messages
            self._to_come[recipient] = messages
            self._unstored += messages

    def begin(self, phase: Phase) -> None:
        """Log authors in, let them write, or let recipients come."""
        self._phase = phase
        if phase.name == LOGIN:
            self._log_in(self._authors)
        elif phase.name == FILL:
            for stream in self._to_send:
                for _ in range(self._window):
                    self._post(stream)
                if visit := self._share.visits.get(stream.author.user):
                    visit.flush()
        elif phase.name == DRAIN:
            self._log_in(self._recipients)

    def is_done(self) -> bool:
        """Whether all are in, everything is stored, or everything is drained."""
        match self._phase.name:
            case "login":
                return self._logins.are_done
            case "fill":
                return not self._unstored
            case _:
                return self._logins.are_done and not self._share.ledger.unfinished

    def logged_in(self, visit: Visit) -> None:
        """Let the next one in."""
        if visit.party.logins == 1:
            self._logins.one_is_in()

    def stored(self, sent: Sent) -> None:
        """Write the next message."""
        self._unstored -= 1
        self._post(sent.stream)

    def delivered(self, visit: Visit, element: Delivered, sent: Sent) -> None:
        """Count down to the empty mailbox."""
        user = visit.party.user
        self._to_come[user] -= 1
        if not self._to_come[user]:
            micros = (time.monotonic_ns() - visit.party.login_ns) // 1000
            self._share.tally.latencies[DRAIN_TIME].append(micros)

    def _post(self, stream: Stream) -> None:
        if self._to_send[stream] and self._share.post(stream, time.monotonic_ns()):
            self._to_send[stream] -= 1

    def _log_in(self, users: list[str]) -> None:
        self._logins = Logins(self._share, users, at_once=LOGINS_AT_ONCE)
        self._logins.begin()
