"""A session: one client's way from login to live traffic, without I/O.

Frames from the client and envelopes from its worker are fed to it; what follows is in `out`, which
its connection empties after each feed. What order clients see is decided here: the auth answer,
then every `q`, then live frames (2.2.2); acks 1 in the order of the sends, and no receipt before
the ack 1 of its message (2.3.4).

Its state is in machines: `login` (how far it is), `deliveries` (its mailbox, at its `pace`),
`limits`, and what is `underway`: `answers` (the line of its sends) and a `budget`, which says how
much may be; what goes beyond it is the rest of a frame in `work`, and later frames in a `backlog`.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Final, Protocol, assert_never

from relay.auth.contract import Credentials, Denied, Granted, Verdict
from relay.bus.envelopes import Page, RequestNumber
from relay.errors import FrameError, Refusal
from relay.front.answers import Answers
from relay.front.budget import Budget
from relay.front.deliveries import Deliveries
from relay.front.limits import SessionLimits
from relay.front.login import Login, Stage
from relay.front.output import Hold, Output
from relay.front.senders import Senders
from relay.front.turns import LONG_BYTES
from relay.front.underway import UnderWay
from relay.protocol import closecodes, frames
from relay.protocol.codec import Codec
from relay.protocol.stanza import Ack, Action, Auth, ExtensionRequest, InvalidAuth, Stanza
from relay.settings.tables import Settings

# Looked at for every frame; a member of an enum takes five times as long to find.
_LIVE: Final = Stage.LIVE
_QUEUE: Final = Stage.QUEUE
_BEFORE_WORKER: Final = frozenset({Stage.NEW, Stage.CHECKED})
_TOO_MANY_STRIKES: Final = "too many malformed frames"


class StanzaReader(Protocol):
    """What makes stanzas of frames, as the codec does."""

    def decode(self, payload: bytes, *, user: str, now_s: int) -> Stanza:
        """Return what a frame means; FrameError where it is refused."""

    def decode_early(self, payload: bytes, *, now_s: int) -> Auth | InvalidAuth | ExtensionRequest:
        """Return what a frame before the login means; FrameError where it is refused."""


class Session:
    """One client connection, seen from the protocol. `number` is unique within the front.

    Over 25 methods: one for each thing that its client, its worker or its front may tell it.
    """

    __slots__ = (
        "_banned",
        "_capabilities",
        "_codec",
        "_settings",
        "_under_way",
        "deliveries",
        "limits",
        "login",
        "number",
        "out",
    )

    def __init__(
        self,
        number: int,
        codec: Codec,
        settings: Settings,
        capabilities: Collection[str] = (),
        authors: Senders | None = None,
        *,
        banned: Container[str] = frozenset(),
    ) -> None:
        """Begin without a login; a login is granted what it asks for of `capabilities` (E1).

        `authors` are the rates of all who send by this front, None: it is the only one. Logins of
        those who are `banned` are checked in every mode.
        """
        self.number = number
        self._codec: StanzaReader = codec
        self._settings = settings
        self._capabilities = capabilities
        self._banned = banned
        self.out = Output()
        self.login = Login(number, self.out)
        self._under_way: UnderWay | None = None  # once its client has said something
        self.deliveries = Deliveries(number, self.login, self.out)
        self.limits = SessionLimits(settings, Senders() if authors is None else authors)

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from here on; a queue that is being sent keeps its frame size."""
        self._settings = settings
        self.limits.adopt(settings)

    def read_by(self, codec: StanzaReader) -> None:
        """Have another codec make stanzas of its client's frames."""
        self._codec = codec

    @property
    def is_read(self) -> bool:
        """Whether the session takes frames from its client."""
        return self.login.stage is not Stage.ENDED

    def _begin(self) -> UnderWay:
        """Return what the client has under way, now that it has something."""
        if self._under_way is None:
            self._under_way = UnderWay(self.number, self.login, self.out)
            self.deliveries.answers = self._under_way.answers
        return self._under_way

    @property
    def answers(self) -> Answers:
        """The line of its sends."""
        return self._begin().answers

    @property
    def budget(self) -> Budget:
        """How much more it may have under way."""
        return self._begin().budget

    @property
    def has_pending(self) -> bool:
        """Whether something that was taken has yet to be answered, or something waits to be."""
        return self._under_way is not None and self._under_way.has_pending

    @property
    def held_bytes(self) -> int:
        """How much of its client's frames waits to be taken."""
        return 0 if self._under_way is None else self._under_way.backlog.held_bytes

    # ------------------------------------------------------------------------ from the client

    def receive(self, payload: bytes, *, now_ms: int) -> None:
        """Take the payload of one message, within the size limit; a text is valid UTF-8."""
        if self.login.stage is Stage.NEW:
            self._receive_early(payload, now_ms)
            return
        under_way = self._under_way or self._begin()
        if self.login.stage is not _LIVE or under_way.budget.is_full:
            if self.login.stage is not Stage.ENDED:
                under_way.backlog.add(payload, now_ms)
            return
        try:
            stanza = self._codec.decode(payload, user=self.login.user, now_s=now_ms // 1000)
        except FrameError as error:
            self.refuse(error.refusal, now_ms=now_ms)
            return
        # By type: a class pattern that does not match takes as long as all the rest of this.
        if type(stanza) is Action:
            limits, elements = self.limits, stanza.elements
            if limits.has_rate and limits.is_too_fast(now_ms):
                self.out.count("frames_too_fast")
                under_way.work.send([limits.too_fast("action", each) for each in elements])
            elif limits.has_quota and (
                wait_ms := limits.quota_wait_ms(self.login.user, len(elements), now_ms)
            ):
                self.out.count("sends_over_quota", len(elements))
                under_way.work.send([limits.over_quota(each, wait_ms) for each in elements])
            elif len(elements) == 1:  # as nearly always
                under_way.answers.take(elements[0], self.login.user)
            else:
                under_way.work.send(elements)
            if stanza.refused:
                self.out.count("messages_refused", stanza.refused)
                if limits.refused(stanza.refused, now_ms):
                    self.end(closecodes.POLICY, _TOO_MANY_STRIKES)
        elif type(stanza) is Ack:
            if self.limits.has_rate and self.limits.is_too_fast(now_ms):
                self.out.count("frames_too_fast")
                self.out.frames.append(frames.refusal(self.limits.too_fast(stanza.tag)))
            elif len(stanza.message_ids) == 1:  # as nearly always
                under_way.work.tell(stanza, stanza.message_ids)
            else:
                under_way.work.ack(stanza)
        elif isinstance(stanza, ExtensionRequest):
            self._request(stanza, now_ms)
        else:
            self._log_in(stanza, now_ms)

    def _receive_early(self, payload: bytes, now_ms: int) -> None:
        """Take a frame before the login: of all others nothing but the tag is looked at."""
        try:
            stanza = self._codec.decode_early(payload, now_s=now_ms // 1000)
        except FrameError as error:
            self.refuse(error.refusal, now_ms=now_ms)
            return
        if isinstance(stanza, ExtensionRequest):
            self._request(stanza, now_ms)
        else:
            self._log_in(stanza, now_ms)

    def refuse(self, refusal: Refusal, *, now_ms: int) -> None:
        """Answer a frame that is no stanza; too many of them end the connection (R28)."""
        if self.login.stage is Stage.ENDED:
            return
        self.out.count(f"frames_refused_{refusal.code}")
        self.out.frames.append(frames.refusal(refusal))
        if self.limits.strike(now_ms):
            self.end(closecodes.POLICY, _TOO_MANY_STRIKES)

    def _request(self, request: ExtensionRequest, now_ms: int) -> None:
        tag, prefix = request.named, request.correlation.prefix
        if request.is_json and self.limits.has_rate and self.limits.is_too_fast(now_ms):
            self.out.count("frames_too_fast")
            refusal = self.limits.too_fast(tag)._replace(prefix=prefix)
            self.out.frames.append(frames.refusal(refusal))
        else:
            self.out.note(request)

    def auth_overdue(self) -> None:
        """End the session unless it has logged in; its time for that is over (2.2.5).

        Whoever checks what it shows may take long; not so the worker, which owes an answer.
        """
        if self.login.stage in _BEFORE_WORKER:
            self.end(closecodes.AUTH, "no successful auth in time")

    def lost(self) -> None:
        """The connection is gone."""
        login, under_way = self.login, self._under_way
        try:
            if login.stage is _LIVE and under_way is not None:
                self._take_last(under_way)
        finally:
            login.end()
            if under_way is not None:
                under_way.clear()

    def _take_last(self, under_way: UnderWay) -> None:
        """Take what waited for room in the budget: its client said that before it went."""
        work, backlog, budget = under_way.work, under_way.backlog, under_way.budget
        budget.lift()
        work.go_on()
        while backlog and self.login.stage is _LIVE and not budget.is_full:
            self.receive(backlog.pop(), now_ms=backlog.came_ms)
        if dropped := work.give_up() + len(backlog):
            self.out.count("frames_of_lost_clients_dropped", dropped)

    def end(self, code: int, reason: str, notice: bytes | None = None) -> None:
        """Close the connection, for one who is logged in after a last frame if one is given."""
        if self.login.stage is Stage.ENDED:
            return
        if notice is not None and self.login.user:  # R2
            self.out.frames.append(notice)
        if self._under_way is not None:
            self._under_way.backlog.clear()
        self.lost()
        self.out.close(code, reason)

    # ---------------------------------------------------------------------------------- login

    def _log_in(self, auth: Auth | InvalidAuth, now_ms: int) -> None:
        if isinstance(auth, InvalidAuth):
            self._fail_auth(400, auth.reason)
        elif not self.login.may_be(auth):
            self._fail_auth(405, "this connection is logged in as another user")
        else:
            if self._settings.auth.mode == "open" and auth.user not in self._banned:
                self.login.ask(auth, now_ms)
            else:
                self.login.check(auth, now_ms)
                self.out.check(Credentials(auth.user, auth.token))
            self.out.add_hold(Hold.LOGIN)

    def judged(self, verdict: Verdict, *, now_ms: int) -> None:
        """Go on with the login that was checked, unless the client has gone meanwhile."""
        if not self.login.is_checked:
            return
        match verdict:
            case Granted():
                self.login.grant(verdict, now_ms)
            case Denied():
                self.login.refuse()
                self._fail_auth(verdict.code, verdict.reason, verdict.retry_after_s)
                self.go_on(now_ms)
            case _:
                assert_never(verdict)

    def _fail_auth(self, code: int, reason: str, retry_after_s: int | float | None = None) -> None:
        failures = self.login.fail(code, reason, retry_after_s)
        if failures >= self._settings.auth.max_failures:
            self.end(closecodes.AUTH, "too many failed auths")

    def opened(self, *, now_ms: int) -> None:
        """The worker serves the session; pages of its queue follow."""
        if self.login.is_asked:
            self.login.open(self._capabilities, now_ms)
            self.deliveries.begin_queue(self._settings.flow.q_frame_bytes)

    def refused(self, code: int, reason: str, retry_after_s: int, *, now_ms: int) -> None:
        """The worker does not serve the session; a repeated login leaves it as it was.

        One that was announced ends: its client would hear of nothing any more.
        """
        if not self.login.is_asked:
            self.end(closecodes.INTERNAL, reason)
            return
        self.login.refuse()
        self._fail_auth(code, reason, retry_after_s)
        self.deliveries.write_late()
        self.deliveries.steer()
        self.go_on(now_ms)

    def ended_elsewhere(self) -> None:
        """The same user and device logged in elsewhere (R27)."""
        self.end(closecodes.REPLACED, "replaced", frames.DISCONNECT_REPLACED)

    def announce(self) -> None:
        """Tell a new incarnation of the worker where the session stands (I9)."""
        if self.login.has_worker:
            self.login.announce(self.deliveries.cursor)
            self.deliveries.renew(awaits_page=self.login.stage is Stage.QUEUE)
            self.deliveries.steer()

    def long_turn(self, now_ms: int) -> None:
        """Take a frame that had to wait, and may be long work."""
        self.budget.has_turn()
        self.go_on(now_ms, has_long_turn=True)

    def go_on(self, now_ms: int, *, has_long_turn: bool = False) -> None:
        """Take what had to wait, until the next login, or as long as there is room in the budget.

        Or until something is noted, so that what it is answered comes before later frames: then to
        be called again.
        """
        under_way, login = self._under_way, self.login
        if under_way is None:
            if login.is_settled:
                self.out.drop_hold(Hold.LOGIN)
            return
        backlog, budget = under_way.backlog, under_way.budget
        if under_way.work:
            under_way.work.go_on()
        while backlog and login.is_settled and not budget.is_full and not self.out.notes:
            if backlog.next_bytes >= LONG_BYTES and not has_long_turn:
                budget.await_turn()
                self.out.await_turn()
                break
            has_long_turn = False
            self.receive(backlog.pop(), now_ms=now_ms)
        backlog.ease()
        if (not backlog or budget.is_full) and login.is_settled:
            self.out.drop_hold(Hold.LOGIN)

    # ------------------------------------------------------------------------ from the worker

    def page(self, page: Page, *, now_ms: int) -> None:
        """Take a stretch of the mailbox, in `q` frames while the queue is being sent."""
        if not self.login.has_worker:
            return
        if self.deliveries.take_page(page):
            self.login.queue_sent()
            if self._under_way is not None:
                self._answer(self._under_way)
            self.deliveries.write_late()
        self.deliveries.steer()
        if page.last:
            self.go_on(now_ms)

    def work_done(self, units: int, *, now_ms: int) -> None:
        """A worker has confirmed what it was told, of so many units."""
        if self._under_way is not None and self._under_way.budget.done(units):
            self.go_on(now_ms)

    # -------------------------------------------------------------------------------- sending

    def stored(self, request: RequestNumber, time_s: int) -> None:
        """A send is on stable storage: ack 1, in its turn."""
        under_way = self._under_way
        if under_way is not None and under_way.answers.stored(request, self.login.user, time_s):
            self._answer(under_way)

    def send_refused(self, request: RequestNumber, code: int, reason: str) -> None:
        """A send was not stored: an error, in its turn (R29)."""
        under_way = self._under_way
        if under_way is not None and under_way.answers.refused(request, code, reason):
            self._answer(under_way)

    def _answer(self, under_way: UnderWay) -> None:
        """Write the answers that are complete from the oldest send on (2.3.4)."""
        # Behind the last `q`, where that is to come (2.2.2).
        if self.login.stage is not _QUEUE and under_way.answers.settle(self.deliveries):
            self.go_on(under_way.backlog.came_ms)
