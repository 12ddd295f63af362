"""One logged-in connection of a user: frames in, to the ledger; acks out."""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

import msgspec

from relay.loadgen import frames
from relay.loadgen.faults import OUT_OF_ORDER, REFUSED, WRONG
from relay.loadgen.ledger import DELIVERED, Party, Sent
from relay.loadgen.wire import Wire

if TYPE_CHECKING:
    from relay.loadgen.share import Share

_MAX_SHOWN = 200


class Session(Wire):
    """A connection from its login to its end; whoever comes back has a new one."""

    __slots__ = (
        "_began_ns",
        "_now_ns",
        "_share",
        "is_leaving",
        "is_logged_in",
        "party",
    )

    def __init__(self, share: Share, party: Party, *, intended_ns: int) -> None:
        super().__init__(share.host)
        self.party = party
        self.is_logged_in = False
        self.is_leaving = False  # we ended it
        self._share = share
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
        self._share.forget(self)
        super().leave(goodbye=goodbye)

    # -- in ---------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Log in."""
        self._share.ledger.login_begins(self.party.user, self._began_ns)
        self.write(frames.auth_frame(self.party.user, self._share.token_of(self.party.user)))

    def chunk_begins(self) -> None:
        """Take the time once for everything that one read brought."""
        self._now_ns = monotonic_ns()

    def text(self, payload: bytes) -> None:
        """Take a frame."""
        try:
            self._take(payload)
        except (msgspec.MsgspecError, ValueError) as error:
            told = payload[:_MAX_SHOWN].decode(errors="replace")
            self._share.ledger.faults.add(WRONG, f"to {self.party.user}: {told} ({error})")

    def _take(self, payload: bytes) -> None:
        share = self._share
        tag = frames.tag_of(payload)
        if tag in (b"Msg", b"MsgInfo"):
            ack = frames.read_ack(payload)
            if ack.ack == 1:
                if sent := share.ledger.stored(self.party, ack, self._now_ns):
                    share.traffic.stored(sent)
                    if sent.is_complete:
                        share.traffic.completed(sent)
            elif sent := share.ledger.receipt(self.party, ack, self._now_ns):
                share.traffic.completed(sent)
        elif tag == b"action":
            element = frames.read_delivered(payload)
            if not self.is_logged_in:
                what = f"{element.key.id} came to {self.party.user} before its login's q"
                share.ledger.faults.add(OUT_OF_ORDER, what)
            sent = share.ledger.delivered(self.party, element, self._now_ns)
            self.ack(element, DELIVERED)
            if sent is not None:
                share.traffic.delivered(self, element, sent)
        elif tag == b"q":
            waiting = frames.read_waiting(payload)
            if not self.is_logged_in:
                self.is_logged_in = True
                share.logged_in(self, began_ns=self._began_ns, now_ns=self._now_ns)
            for frame in waiting:
                self.text(frame)
        elif tag == b"auth":
            answer = frames.read_login(payload)
            if answer.status != "success":
                what = f"login of {self.party.user}: {answer.code} {answer.reason}"
                share.ledger.faults.add(REFUSED, what)
                self.leave(goodbye=True)
        elif tag == b"error":
            share.ledger.refused(self.party, frames.read_refusal(payload))
        # Anything else (Cmd before a close, extensions) says nothing of messages.

    def ended(self, code: int, reason: str) -> None:
        """Tell the share, which decides whether to come back."""
        self._share.session_ended(self, code, reason)
