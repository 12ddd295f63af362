"""Mailboxes are filled while their users are away; then the users log in and drain them."""

import time
from collections import defaultdict

from relay.loadgen.frames import Delivered
from relay.loadgen.ledger import Sent, Stream
from relay.loadgen.people import user_name
from relay.loadgen.plan import DRAIN, FILL, LOGIN, Offline, Phase, share_of
from relay.loadgen.session import Session
from relay.loadgen.share import Logins, Share, Traffic
from relay.loadgen.tally import DRAIN as DRAINED
from relay.loadgen.traffic.exchange import LOGINS_AT_ONCE


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
                if session := self._share.sessions.get(stream.author.user):
                    session.flush()
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

    def logged_in(self, session: Session) -> None:
        """Let the next one in."""
        if session.party.logins == 1:
            self._logins.one_is_in()

    def stored(self, sent: Sent) -> None:
        """Write the next message."""
        self._unstored -= 1
        self._post(sent.stream)

    def delivered(self, session: Session, element: Delivered, sent: Sent) -> None:
        """Count down to the empty mailbox."""
        user = session.party.user
        self._to_come[user] -= 1
        if not self._to_come[user]:
            micros = (time.monotonic_ns() - session.party.login_ns) // 1000
            self._share.tally.latencies[DRAINED].append(micros)

    def _post(self, stream: Stream) -> None:
        if self._to_send[stream] and self._share.post(stream, time.monotonic_ns()):
            self._to_send[stream] -= 1

    def _log_in(self, users: list[str]) -> None:
        self._logins = Logins(self._share, users, at_once=LOGINS_AT_ONCE)
        self._logins.begin()
