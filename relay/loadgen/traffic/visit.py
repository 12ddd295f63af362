"""One logged-in connection of a user: frames in, to the ledger; acks out."""

from __future__ import annotations

from time import monotonic_ns
from typing import Protocol

import msgspec

from relay.loadgen.traffic.plan import Phase
from relay.loadgen.traffic.socketwire import SocketWire
from relay.loadgen.traffic.trouble import shown
from relay.loadgen.verify import clientframes as frames
from relay.loadgen.verify.faults import OUT_OF_ORDER, REFUSED, WRONG
from relay.loadgen.verify.ledger import DELIVERED, Ledger
from relay.loadgen.verify.streams import Party, Sent


class Traffic:
    """What a scenario does at each event; the base does nothing."""

    def begin(self, phase: Phase) -> None:
        """A phase begins."""

    def is_done(self) -> bool:
        """Whether a phase without a length is over, as far as this process goes."""
        return True

    def logged_in(self, visit: Visit) -> None:
        """A visit has its first q."""

    def stored(self, sent: Sent) -> None:
        """Ack 1 came."""

    def delivered(self, visit: Visit, element: frames.Delivered, sent: Sent) -> None:
        """A message came for the first time to this recipient, and was acked."""

    def completed(self, sent: Sent) -> None:
        """Ack 1 and all receipts are there."""


class Opener(Protocol):
    """What a visit asks of whoever opened it."""

    ledger: Ledger
    traffic: Traffic

    def token_of(self, user: str) -> str:
        """Return what the user proves its identity with, if anything."""

    def logged_in(self, visit: Visit, *, began_ns: int, now_ns: int) -> None:
        """Take a visit that has its q."""

    def forget(self, visit: Visit) -> None:
        """Count a visit as over."""

    def ended(self, visit: Visit, code: int, reason: str) -> None:
        """Take the end of a visit's connection, whoever ended it."""

    def came_instead(self, visit: Visit, what: str) -> None:
        """Take what came where a login was expected, as a line for a person."""


class Visit(SocketWire):
    """A connection from its login to its end; whoever comes back makes a new one."""

    __slots__ = (
        "_began_ns",
        "_now_ns",
        "_opener",
        "is_leaving",
        "is_logged_in",
        "party",
    )

    def __init__(self, opener: Opener, party: Party, *, host: str, intended_ns: int) -> None:
        super().__init__(host)
        self.party = party
        self.is_logged_in = False
        self.is_leaving = False  # we ended it
        self._opener = opener
        self._began_ns = intended_ns
        self._now_ns = intended_ns

    # -- out --------------------------------------------------------------------------------------

    def send(self, sent: Sent) -> None:
        """Write a message."""
        self.write(frames.send_frame(sent.stream.remote_jid, sent.id, sent.message, sent.time_s))

    def ack(self, element: frames.Delivered, level: int) -> None:
        """Write an ack for a message that came."""
        self.write(frames.ack_for(element, level, acker=self.party.user))

    def leave(self, *, goodbye: bool) -> None:
        """End the connection on our own account."""
        self.is_leaving = True
        self._opener.forget(self)
        super().leave(goodbye=goodbye)

    # -- in ---------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Log in."""
        self._opener.ledger.login_begins(self.party.user, self._began_ns)
        self.write(frames.auth_frame(self.party.user, self._opener.token_of(self.party.user)))

    def chunk_begins(self) -> None:
        """Take the time once for everything that one read brought."""
        self._now_ns = monotonic_ns()

    def text(self, payload: bytes) -> None:
        """Take a frame."""
        try:
            self._take(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            self._unexpected(payload)
            told = f"to {self.party.user}: {shown(payload)} ({error})"
            self._opener.ledger.faults.add(WRONG, told)

    def _take(self, payload: bytes) -> None:
        opener = self._opener
        tag = frames.tag_of(payload)
        if tag in (b"Msg", b"MsgInfo"):
            ack = frames.read_ack(payload)
            if ack.ack == 1:
                if sent := opener.ledger.stored(self.party, ack, self._now_ns):
                    opener.traffic.stored(sent)
                    if sent.is_complete:
                        opener.traffic.completed(sent)
            elif sent := opener.ledger.receipt(self.party, ack, self._now_ns):
                opener.traffic.completed(sent)
        elif tag == b"action":
            element = frames.read_delivered(payload)
            if not self.is_logged_in:
                self._unexpected(payload)
                what = f"{element.key.id} came to {self.party.user} before its login's q"
                opener.ledger.faults.add(OUT_OF_ORDER, what)
            sent = opener.ledger.delivered(self.party, element, self._now_ns)
            self.ack(element, DELIVERED)
            if sent is not None:
                opener.traffic.delivered(self, element, sent)
        elif tag == b"q":
            waiting = frames.read_waiting(payload)
            if not self.is_logged_in:
                self.is_logged_in = True
                opener.logged_in(self, began_ns=self._began_ns, now_ns=self._now_ns)
            for frame in waiting:
                self.text(frame)
        elif tag == b"auth":
            answer = frames.read_login(payload)
            if answer.status != "success":
                self._unexpected(payload)
                what = f"login of {self.party.user}: {answer.code} {shown(answer.reason)}"
                opener.ledger.faults.add(REFUSED, what)
                self.leave(goodbye=True)
        elif tag == b"error":
            self._unexpected(payload)
            opener.ledger.refused(self.party, frames.read_refusal(payload))
        else:
            # Cmd before a close, extensions: nothing of messages, but perhaps why nobody gets in.
            self._unexpected(payload)

    def ended(self, code: int, reason: str) -> None:
        """Tell the opener, which decides whether to come back."""
        self._opener.ended(self, code, reason)

    def _unexpected(self, payload: bytes) -> None:
        if not self.is_logged_in:
            self._opener.came_instead(self, f"got {shown(payload)}")
