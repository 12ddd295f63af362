"""A session's way from its connection to live traffic, and what it is logged in as."""

from __future__ import annotations

import enum
import secrets
from collections.abc import Collection
from typing import Final, assert_never

import msgspec

from relay.auth.contract import Granted
from relay.bus.envelopes import LIVE, LOGIN, NO_SEQ, QUEUE, CloseSession, OpenSession, Seq
from relay.front.output import Closed, Opened, Output
from relay.protocol import frames
from relay.protocol.slots import Slot, slot_of
from relay.protocol.stanza import Auth


class Stage(enum.Enum):
    """How far a session is."""

    # By identity: an enum's own hash is that of its name, in Python, and each step of a login takes
    # several.
    __hash__ = object.__hash__

    NEW = enum.auto()  # not logged in
    CHECKED = enum.auto()  # what it shows is being checked
    ASKED = enum.auto()  # the worker was asked
    QUEUE = enum.auto()  # logged in, `q` frames are on their way
    LIVE = enum.auto()  # the queue was sent
    CHECKED_AGAIN = enum.auto()  # was live, and what it shows is being checked once more
    ASKED_AGAIN = enum.auto()  # was live, and logs in again
    ENDED = enum.auto()  # closing; nothing is taken or sent any more


class LoginEvent(enum.Enum):
    """What may happen to a login."""

    __hash__ = object.__hash__

    CHECK = enum.auto()  # the client logs in, which is to be checked
    ASK = enum.auto()  # it may, as far as that goes
    OPEN = enum.auto()  # the worker serves it
    REFUSE = enum.auto()  # it may not, or the worker does not
    QUEUE_SENT = enum.auto()  # the last `q` was written


# A pair that is not here cannot be. From everywhere a session may end.
TRANSITIONS: Final = {
    (Stage.NEW, LoginEvent.CHECK): Stage.CHECKED,
    (Stage.CHECKED, LoginEvent.ASK): Stage.ASKED,
    (Stage.CHECKED, LoginEvent.REFUSE): Stage.NEW,
    (Stage.NEW, LoginEvent.ASK): Stage.ASKED,
    (Stage.ASKED, LoginEvent.OPEN): Stage.QUEUE,
    (Stage.ASKED, LoginEvent.REFUSE): Stage.NEW,
    (Stage.QUEUE, LoginEvent.QUEUE_SENT): Stage.LIVE,
    (Stage.LIVE, LoginEvent.CHECK): Stage.CHECKED_AGAIN,
    (Stage.CHECKED_AGAIN, LoginEvent.ASK): Stage.ASKED_AGAIN,
    (Stage.CHECKED_AGAIN, LoginEvent.REFUSE): Stage.LIVE,
    (Stage.LIVE, LoginEvent.ASK): Stage.ASKED_AGAIN,
    (Stage.ASKED_AGAIN, LoginEvent.OPEN): Stage.QUEUE,
    (Stage.ASKED_AGAIN, LoginEvent.REFUSE): Stage.LIVE,
}
_ASKED: Final = frozenset({Stage.ASKED, Stage.ASKED_AGAIN})
_SETTLED: Final = frozenset({Stage.NEW, Stage.LIVE})
_WITHOUT_WORKER: Final = frozenset({Stage.NEW, Stage.CHECKED, Stage.ENDED})
_CHECKED: Final = frozenset({Stage.CHECKED, Stage.CHECKED_AGAIN})


FOR_EVER: Final = Granted()

# R27: the device of a client that names none; there is no other yet.
_DEVICE: Final = "0"


class Login(msgspec.Struct, eq=False, gc=False):
    """The stage of one session, its user, and the login that is being answered."""

    _number: int
    _out: Output
    stage: Stage = Stage.NEW
    user: str = ""  # once a login has succeeded
    caps: tuple[str, ...] = ()  # that it was granted
    slot: Slot = Slot(0)  # whose worker serves it; meaningful once `has_worker`
    # The login that is being answered. It is not kept: it may have a token, of up to 8 KiB.
    _auth: Auth | None = None
    shown_ms: int = 0  # when it came
    asked_ms: int = 0  # when it was found good
    granted: Granted = FOR_EVER  # by the last login that succeeded
    _granted: Granted = FOR_EVER  # by the one that is being answered
    _failures: int = 0  # since one succeeded

    @property
    def is_asked(self) -> bool:
        """Whether a login is being answered."""
        return self.stage in _ASKED

    @property
    def is_served(self) -> bool:
        """Whether it is logged in and has had its queue, and no worker was asked again."""
        return self.stage is Stage.LIVE or self.stage is Stage.CHECKED_AGAIN

    @property
    def awaits_answer(self) -> bool:
        """Whether a login of the client has yet to be let in or refused."""
        return self.is_checked or self.is_asked

    @property
    def claim(self) -> tuple[str, Granted]:
        """As whom it is logged in, or asks its worker to be, and by what; empty before that."""
        if self.is_asked and self._auth is not None:
            return self._auth.user, self._granted
        return self.user, self.granted

    @property
    def is_checked(self) -> bool:
        """Whether what the client shows is being checked."""
        return self.stage in _CHECKED

    @property
    def is_settled(self) -> bool:
        """Whether frames of the client are taken as they come: nothing is being answered."""
        return self.stage in _SETTLED

    @property
    def has_worker(self) -> bool:
        """Whether a worker was asked to serve the session."""
        return self.stage not in _WITHOUT_WORKER

    def may_be(self, auth: Auth) -> bool:
        """Tell whether a login is not somebody else's than the last; `fail` is to hear (2.2.7)."""
        return not self.user or auth.user == self.user

    def check(self, auth: Auth, now_ms: int) -> None:
        """Have what the client shows be checked; `grant` or `refuse` follows."""
        self._go(LoginEvent.CHECK)
        self._auth, self.shown_ms = auth, now_ms

    def ask(self, auth: Auth, now_ms: int) -> None:
        """Ask the user's worker for a login, the first or another, that needs no check."""
        self.shown_ms = now_ms
        self._ask(auth, now_ms)

    def _ask(self, auth: Auth, now_ms: int) -> None:
        self._go(LoginEvent.ASK)
        self._auth, self.slot, self.asked_ms = auth, slot_of(auth.user), now_ms
        self._send(OpenSession(self._number, auth.user, LOGIN, NO_SEQ))

    def grant(self, granted: Granted, now_ms: int) -> None:
        """Ask the user's worker, since what was checked lets the client in."""
        assert self._auth is not None, "it was checked"
        self._granted = granted
        self._ask(self._auth, now_ms)

    def open(self, capabilities: Collection[str], now_ms: int) -> None:
        """Say that the login has succeeded, and which of `capabilities` it is granted (E1)."""
        self._go(LoginEvent.OPEN)
        auth, self._auth = self._auth, None
        assert auth is not None, "a login is being answered"
        self.user, self._failures, self.granted = auth.user, 0, self._granted
        asked = auth.caps or ()
        self.caps = tuple([name for name in capabilities if name in asked]) if asked else ()
        is_sheet = auth.caps is None and not auth.resume  # as nearly always
        self._out.frames.append(
            frames.auth_success(
                caps=None if auth.caps is None else self.caps,
                resume=auth.resume,
                device=_DEVICE,
                session_id="" if is_sheet else secrets.token_hex(8),
                time_s=now_ms // 1000,
            )
        )
        self._out.note(Opened(self.user, self.caps))

    def refuse(self) -> None:
        """Go back to where the login came from; `fail` is to say why it has failed."""
        self._go(LoginEvent.REFUSE)
        self._auth = None

    def fail(self, code: int, reason: str, retry_after_s: int | float | None = None) -> int:
        """Say that a login has failed (2.2.4); return how many have in a row."""
        self._out.frames.append(
            frames.auth_failure(code=code, reason=reason, retry_after_s=retry_after_s)
        )
        self._out.count_refused_login(code)
        self._failures += 1
        return self._failures

    def queue_sent(self) -> None:
        """Go live."""
        self._go(LoginEvent.QUEUE_SENT)

    def announce(self, cursor: Seq) -> None:
        """Tell a new incarnation of the worker where the session stands (I9); it has a worker."""
        match self.stage:
            case Stage.ASKED | Stage.ASKED_AGAIN:
                assert self._auth is not None, "a login is being answered"
                self._send(OpenSession(self._number, self._auth.user, LOGIN, NO_SEQ))
            case Stage.QUEUE:
                self._send(OpenSession(self._number, self.user, QUEUE, cursor, self.asked_ms))
            case Stage.LIVE | Stage.CHECKED_AGAIN:
                self._send(OpenSession(self._number, self.user, LIVE, cursor, self.asked_ms))
            case Stage.NEW | Stage.CHECKED | Stage.ENDED:
                raise AssertionError("a session without a worker has nothing to announce")
            case _:
                assert_never(self.stage)

    def end(self) -> None:
        """End, from wherever it is."""
        if self.has_worker:
            self._send(CloseSession(self._number))
        if self.user and self.stage is not Stage.ENDED:
            self._out.note(Closed(self.user))
        self.stage = Stage.ENDED

    def _send(self, content: OpenSession | CloseSession) -> None:
        self._out.request(self.slot, content, durable=False)

    def _go(self, event: LoginEvent) -> None:
        self.stage = TRANSITIONS[self.stage, event]
