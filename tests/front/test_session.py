"""A session's decisions: what the client sees, in which order, and what its worker is asked.

The first part plays single cases against a recording port. The second (`SessionMachine`) drives a
session against a small model of a worker, over links on which everything takes its time.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    QUEUE,
    Acked,
    CloseSession,
    Confirmed,
    Deliver,
    Entry,
    OpenSession,
    Page,
    Pause,
    Ready,
    Refused,
    SendToGroup,
    SendToUser,
    Seq,
    SessionOpened,
    SessionRefused,
    Stored,
    ToFront,
    ToWorker,
)
from relay.errors import Refusal
from relay.extensions.registry import load
from relay.front import answers, backlog
from relay.front.deliveries import Deliveries
from relay.front.output import Hold, Note
from relay.front.session import Session
from relay.protocol import frames
from relay.protocol.codec import Codec
from relay.protocol.slots import slot_of
from relay.settings.tables import Settings
from tests import plain

ALICE, BOB, CAROL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065"
NUMBER = 7
FIRST_REQUEST = (NUMBER << 32) + 1
SENT_AT = 1_566_970_629
NOW_MS = SENT_AT * 1000
AUTH_SUCCESS = ["auth", {"from": "backend", "status": "success"}]
EMPTY_Q = ["q", {"data": "[[]]", "from": "backend"}]


# What a client asks of an extension, which answers at once.
BEAT = Codec(Settings().limits, load().rows).decode(b"?,,", user="", now_s=0)


class RecordingPort:
    """What a session did, in order. Frames after the end are a fault of the session."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.requests: list[ToWorker] = []
        self.durable: list[ToWorker] = []
        self.slots: set[int] = set()
        self.holds: int = 0
        self.closed: tuple[int, str] | None = None
        self.receipts = 0
        self.strays = 0
        self.notes: list[Note] = []

    def take(self, session: Session) -> None:
        """Empty the session's output, as its connection does."""
        out = session.out
        for frame in out.frames:
            assert self.closed is None, f"written after the close: {frame!r}"
            self.frames.append(json.loads(frame) if frame.startswith(b"[") else frame)
        out.frames.clear()
        for slot, content, durable in out.envelopes:
            self.requests.append(content)
            self.slots.add(slot)
            if durable:
                self.durable.append(content)
        out.envelopes.clear()
        if self.holds != out.hold:
            assert out.has_news, "nobody would look at the holds"
        self.holds = out.hold
        if not out.has_news:
            self.receipts += out.receipts
            out.receipts = 0
            assert (out.strays, out.notes, out.closing) == (0, None, None)
            return
        out.has_news = False
        self.receipts += out.receipts
        self.strays += out.strays
        notes = list(out.take_notes())
        self.notes += notes
        out.receipts = out.strays = 0
        out.take_notes()
        if out.closing is not None:
            assert self.closed is None, "closed twice"
            self.closed, out.closing = (out.closing.code, out.closing.reason), None
        for note in notes:
            if note == BEAT:
                session.deliveries.answer(b"!%d" % NOW_MS)
        if notes:
            session.go_on(NOW_MS)
            self.take(session)

    def take_frames(self) -> list[Any]:
        taken, self.frames = self.frames, []
        return taken

    def take_requests(self) -> list[ToWorker]:
        taken, self.requests = self.requests, []
        return taken

    @property
    def close_code(self) -> int | None:
        return None if self.closed is None else self.closed[0]


def settings_with(**tables: Mapping[str, object]) -> Settings:
    """Return the default settings with some replaced: `limits={"malformed_frames": 2}`."""
    settings = Settings()
    return msgspec.structs.replace(
        settings,
        **{
            table: msgspec.structs.replace(getattr(settings, table), **changes)
            for table, changes in tables.items()
        },
    )


class Client:
    """A session with its port, and short ways to feed both of its sides."""

    def __init__(self, **tables: Mapping[str, object]) -> None:
        settings = settings_with(**tables)
        self.port = RecordingPort()
        self.session = Session(NUMBER, Codec(settings.limits, load().rows), settings)
        self.now_ms = NOW_MS

    def says(self, *sent: object) -> None:
        for frame in sent:
            payload = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
            self.session.receive(payload, now_ms=self.now_ms)
            self.take()

    def hears(self, *from_worker: ToFront) -> None:
        for envelope in from_worker:
            match envelope:
                case SessionOpened():
                    self.session.opened(now_ms=self.now_ms)
                case SessionRefused():
                    self.session.refused(
                        envelope.code,
                        envelope.reason,
                        envelope.retry_after_s,
                        now_ms=self.now_ms,
                    )
                case Page():
                    self.session.page(envelope, now_ms=self.now_ms)
                case Deliver():
                    self.deliveries.deliver(envelope.seq, envelope.receipt_for, envelope.frame)
                case Stored():
                    self.session.stored(envelope.request, envelope.time_s)
                case Refused():
                    self.session.send_refused(envelope.request, envelope.code, envelope.reason)
                case _:
                    raise AssertionError(f"not for a session alone: {envelope}")
            self.take()

    @property
    def deliveries(self) -> Deliveries:
        return self.session.deliveries

    def take(self) -> None:
        """Do what the session wants done."""
        self.port.take(self.session)

    def slows(self) -> None:
        """Read nothing any more."""
        self.deliveries.slowed()
        self.take()

    def drains(self) -> None:
        """Read all that was sent."""
        self.deliveries.drained()
        self.take()

    def pongs(self, seq: int) -> None:
        """Answer a ping that was sent behind the receipts up to `seq`."""
        self.deliveries.confirmed(Seq(seq))
        self.take()

    def is_announced(self) -> None:
        """Have its worker restarted."""
        self.session.announce()
        self.take()

    def is_lost(self, *, written: int | None = None) -> None:
        """Lose the connection."""
        self.session.lost(written=None if written is None else Seq(written))
        self.take()

    def is_taken_over(self) -> None:
        """Log in elsewhere."""
        self.session.ended_elsewhere()
        self.take()

    def is_overdue(self) -> None:
        """Let the time for a login pass."""
        self.session.auth_overdue()
        self.take()

    def refuses(self, refusal: Refusal) -> None:
        """Have the front refuse a frame."""
        self.session.refuse(refusal, now_ms=self.now_ms)
        self.take()

    def is_delivered(self, seq: int, receipt_for: str, frame: bytes) -> None:
        """Be sent a live frame."""
        self.deliveries.deliver(Seq(seq), receipt_for, frame)
        self.take()

    def ends(self, code: int = 1001, reason: str = "", notice: bytes | None = None) -> None:
        """Have the front end it."""
        self.session.end(code, reason, notice)
        self.take()

    def frames(self) -> list[Any]:
        """Return the frames that were written since the last call."""
        return self.port.take_frames()

    def requests(self) -> list[ToWorker]:
        """Return what the workers were asked since the last call."""
        return self.port.take_requests()


@pytest.fixture
def client() -> Client:
    """A client that has just connected."""
    return Client()


@pytest.fixture
def alice() -> Client:
    """A client whose queue was empty and that is live."""
    return logged_in()


def logged_in(**tables: Mapping[str, object]) -> Client:
    client = Client(**tables)
    client.says(auth())
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    assert not client.port.holds
    return client


def auth(user: str = ALICE, **options: object) -> list[Any]:
    return ["auth", {"type": "new", **options}, {"remoteJid": f"{user}@s.whatsapp.net"}]


def action(*ids: str, to: str = BOB) -> list[Any]:
    elements = [
        {
            "key": {"fromMe": True, "id": message_id, "remoteJid": to},
            "message": {"conversation": message_id},
            "messageTimestamp": str(SENT_AT),
        }
        for message_id in ids
    ]
    return ["action", {"add": "relay"}, elements]


def ack_frame(message_id: str = "1", level: int = 2) -> list[Any]:
    return ["Msg", {"id": message_id, "ack": level, "cmd": "ack", "to": ALICE, "from": BOB}]


def message(seq: int) -> Entry:
    frame = frames.delivered_to_user(
        author=BOB,
        message_id=f"m{seq}",
        message=b"{}",
        time_s=SENT_AT,
        key_extra=b"",
        extra=b"",
    )
    return plain.entry(seq, "", frame)


def receipt(seq: int, message_id: str = "1", level: int = 2) -> Entry:
    frame = frames.receipt(
        message_id=message_id, level=level, author=ALICE, acker=BOB, group="", time_s=SENT_AT
    )
    return plain.entry(seq, message_id, frame)


def announced(phase: int, cursor: int) -> OpenSession:
    return plain.open_session(NUMBER, ALICE, phase, cursor, asked_ms=NOW_MS)


def live(entry: Entry) -> Deliver:
    return Deliver(NUMBER, entry.seq, entry.receipt_for, entry.frame)


def page(*entries: Entry, queue: bool = False, last: bool = False, more: bool = False) -> Page:
    return Page(NUMBER, list(entries), queue, last, more)


def last_page(*entries: Entry, more: bool = False) -> Page:
    return page(*entries, queue=True, last=True, more=more)


def seen(*entries: Entry) -> list[Any]:
    return [json.loads(entry.frame) for entry in entries]


def in_q(q_frame: Any) -> list[Any]:
    """Return the frames in a q frame."""
    tag, body = q_frame
    assert (tag, body["from"]) == ("q", "backend")
    sentinel, *queued = json.loads(body["data"])
    assert sentinel == []
    return list(queued)


def ack_1(message_id: str, to: str = BOB, time_s: int = SENT_AT) -> Any:
    return json.loads(
        frames.stored_for_user(message_id=message_id, author=ALICE, recipient=to, time_s=time_s)
    )


def error_codes(written: list[Any]) -> list[tuple[int, str, str]]:
    """Return code, tag and id of frames that must all be errors."""
    assert all(tag == "error" for tag, _ in written), written
    return [(body["code"], body.get("tag", ""), body.get("id", "")) for _, body in written]


# ------------------------------------------------------------------------------------- login


def test_a_login_asks_the_worker_of_the_user_and_waits(client: Client) -> None:
    client.says(auth())

    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    assert client.port.slots == {client.session.login.slot} == {slot_of(ALICE)}
    assert not client.port.durable
    assert client.port.holds == Hold.LOGIN
    assert client.frames() == []
    assert client.session.login.has_worker
    assert not client.session.login.user


def test_auth_comes_before_q_and_q_before_live_frames(client: Client) -> None:
    client.says(auth())
    client.hears(
        SessionOpened(NUMBER), last_page(message(1), receipt(2)), live(message(3)), live(receipt(4))
    )

    answer, q_frame, *rest = client.frames()
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(1), receipt(2))
    assert rest == seen(message(3), receipt(4))
    assert client.session.login.user


def test_r3_an_empty_queue_is_one_q_as_well(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER))
    assert client.frames() == [AUTH_SUCCESS]
    client.hears(last_page())
    assert client.frames() == [EMPTY_Q]


def test_pages_are_packed_into_one_queue(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(message(1), queue=True, more=True))
    client.hears(page(message(2), message(3), queue=True, more=True))
    assert client.frames() == [AUTH_SUCCESS]
    client.hears(last_page(message(4)))

    (q_frame,) = client.frames()
    assert in_q(q_frame) == seen(message(1), message(2), message(3), message(4))


def test_a_long_queue_goes_out_in_several_q_frames() -> None:
    client = Client(flow={"q_frame_bytes": 4096})
    entries = [message(seq) for seq in range(1, 101)]
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(*entries[:50], queue=True, more=True))
    early = client.frames()
    client.hears(last_page(*entries[50:]))

    assert early[0] == AUTH_SUCCESS
    assert len(early) > 1
    q_frames = early[1:] + client.frames()
    assert [frame for q_frame in q_frames for frame in in_q(q_frame)] == seen(*entries)


def test_the_next_page_is_asked_for_behind_the_last_entry(client: Client) -> None:
    client.says(auth())
    client.requests()
    client.hears(SessionOpened(NUMBER), page(message(1), message(5), queue=True, more=True))
    assert client.requests() == [plain.ready(NUMBER, 5, 1)]
    client.hears(last_page(message(6), more=True))
    assert client.requests() == [plain.ready(NUMBER, 6, 2)]
    client.hears(page(message(7), more=True))
    assert client.requests() == [plain.ready(NUMBER, 7, 3)]
    client.hears(page())
    assert client.requests() == []


def test_frames_behind_a_login_are_taken_after_the_queue_in_their_order(client: Client) -> None:
    client.says(auth(), action("1"), b"?,,", ack_frame("m1"), ["nonsense"])
    client.hears(SessionOpened(NUMBER))
    client.requests()
    client.hears(page(message(1), queue=True, more=True))
    assert client.requests() == [plain.ready(NUMBER, 1, 1)]
    assert client.port.holds == Hold.LOGIN

    client.hears(last_page())

    _, q_frame, keepalive, error = client.frames()
    assert in_q(q_frame) == seen(message(1))
    assert keepalive == b"!%d" % NOW_MS
    assert error_codes([error]) == [(400, "nonsense", "")]
    send, acked = client.requests()
    assert isinstance(send, SendToUser)
    assert isinstance(acked, Acked)
    assert not client.port.holds


def test_frames_behind_a_failed_login_are_unauthenticated(client: Client) -> None:
    client.says(auth(), action("1"))
    client.hears(SessionRefused(NUMBER, 503, "later", 1))

    failure, error = client.frames()
    assert failure[1]["code"] == 503
    assert error_codes([error]) == [(401, "action", "")]
    assert not client.port.holds


def test_logins_in_a_row_are_answered_one_after_the_other(client: Client) -> None:
    client.says(auth(), action("1"), auth(), action("2"))
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    first_login, send, second_login = client.requests()
    assert first_login == second_login == plain.open_session(NUMBER, ALICE, LOGIN, 0)
    assert isinstance(send, SendToUser)
    assert client.port.holds == Hold.LOGIN

    client.hears(SessionOpened(NUMBER), last_page())

    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    assert [type(request) for request in client.requests()] == [SendToUser]
    assert not client.port.holds


def test_a_client_is_not_read_while_its_second_login_is_answered(client: Client) -> None:
    client.says(auth(), auth())
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.port.holds == Hold.LOGIN
    client.hears(SessionOpened(NUMBER), last_page())
    assert not client.port.holds


def test_a_login_that_asks_for_extensions_is_told_what_it_got(client: Client) -> None:
    client.says(auth(type="resume", caps=["sm"]))
    client.hears(SessionOpened(NUMBER))

    ((tag, body),) = client.frames()
    session_id = body.pop("sessionId")
    assert (tag, body) == (
        "auth",
        {
            "from": "backend",
            "status": "success",
            "caps": [],
            "device": "0",
            "t": SENT_AT,
            "resumed": False,
        },
    )
    assert len(session_id) >= 8


def test_a_refused_login_may_be_tried_again(client: Client) -> None:
    client.says(auth())
    client.hears(SessionRefused(NUMBER, 429, "too many takeovers", 3))

    assert client.frames() == [
        [
            "auth",
            {
                "from": "backend",
                "status": "failure",
                "code": 429,
                "reason": "too many takeovers",
                "retryAfter": 3,
            },
        ]
    ]
    assert not client.session.login.has_worker
    assert not client.port.holds

    client.says(auth(BOB))
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]
    assert client.session.login.user == BOB


def test_the_third_failed_login_closes_the_connection(client: Client) -> None:
    bad = ["auth", {"type": "old"}, {"remoteJid": ALICE}]
    client.says(bad, bad)
    assert client.port.closed is None
    client.says(bad, auth())

    assert [body["code"] for _, body in client.frames()] == [400, 400, 400]
    assert client.port.close_code == 4401
    assert client.requests() == []


def test_a_successful_login_forgives_the_failed_ones(alice: Client) -> None:
    bad = ["auth", {"type": "old"}, {"remoteJid": ALICE}]
    alice.says(bad, bad, auth())
    alice.hears(SessionOpened(NUMBER), last_page())
    alice.says(bad, bad)

    assert alice.port.closed is None


def test_another_user_on_the_same_connection_is_refused_and_nothing_changes(alice: Client) -> None:
    alice.says(auth(BOB), action("1"))

    assert [(tag, body["code"]) for tag, body in alice.frames()] == [("auth", 405)]
    assert [type(request) for request in alice.requests()] == [SendToUser]
    assert alice.session.login.user == ALICE


def test_no_login_in_time_closes_the_connection(client: Client) -> None:
    client.is_overdue()

    assert client.port.close_code == 4401
    client.is_overdue()


def test_a_login_waits_for_a_worker_that_is_away_past_the_deadline(client: Client) -> None:
    """I9: the client has done its part."""
    client.says(auth())
    client.is_overdue()

    assert client.port.close_code is None


def test_a_login_in_time_does_not(alice: Client) -> None:
    alice.is_overdue()
    assert alice.port.closed is None


@pytest.mark.parametrize(
    ("frame", "tag"),
    [
        (action("1"), "action"),
        (["action", {}], "action"),
        (ack_frame(), "Msg"),
        (["MsgInfo", ack_frame()[1]], "MsgInfo"),
        (["Msg", {}], "Msg"),
        (["query", "exist"], "query"),
    ],
)
def test_anything_before_the_login_gets_401(client: Client, frame: Any, tag: str) -> None:
    client.says(frame)

    assert error_codes(client.frames()) == [(401, tag, "")]
    assert client.requests() == []


def test_what_is_no_frame_gets_400_before_the_login_too(client: Client) -> None:
    client.says(b"?", b"{}")

    assert error_codes(client.frames()) == [(400, "", ""), (400, "", "")]


def test_keepalives_are_answered_before_the_login(client: Client) -> None:
    client.says(b"?,,")

    assert client.frames() == [b"!%d" % NOW_MS]


def test_a_late_answer_to_a_login_is_ignored(alice: Client) -> None:
    alice.hears(SessionOpened(NUMBER), SessionRefused(NUMBER, 503, "late", 1))

    assert alice.frames() == []


# --------------------------------------------------------------------------- repeated login


def test_a_repeated_login_gets_the_queue_again(alice: Client) -> None:
    alice.hears(live(message(1)))
    alice.says(auth())
    assert alice.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    alice.hears(live(message(2)), SessionOpened(NUMBER), last_page(message(1), message(2)))

    first, second, answer, q_frame = alice.frames()
    assert [first, second] == seen(message(1), message(2))
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(1), message(2))


def test_acks_1_come_behind_the_queue_of_a_repeated_login(alice: Client) -> None:
    alice.says(action("1", "2"), auth())
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT), SessionOpened(NUMBER))
    assert alice.frames() == [ack_1("1"), AUTH_SUCCESS]

    alice.hears(plain.stored(FIRST_REQUEST + 1, SENT_AT))
    assert alice.frames() == []
    alice.hears(last_page())
    assert alice.frames() == [EMPTY_Q, ack_1("2")]


def test_a_receipt_in_the_queue_of_a_repeated_login_waits_for_its_ack_1(alice: Client) -> None:
    alice.says(action("1"), auth())
    alice.hears(live(receipt(5, "1")))
    alice.hears(
        SessionOpened(NUMBER), last_page(message(3), receipt(4, "0"), receipt(5, "1"), message(6))
    )
    answer, q_frame = alice.frames()
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(3), receipt(4, "0"), message(6))
    assert alice.session.deliveries.receipts_written == 4

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(5, "1"))]
    assert alice.session.deliveries.receipts_written == 5


def test_no_receipt_counts_as_written_while_the_queue_is_being_packed(alice: Client) -> None:
    alice.says(action("1"), auth())
    alice.hears(
        SessionOpened(NUMBER), page(receipt(4, "0"), receipt(5, "1"), queue=True, more=True)
    )

    assert alice.frames() == [AUTH_SUCCESS]
    assert alice.session.deliveries.receipts_written == 0


def test_a_receipt_that_waited_before_a_repeated_login_may_be_gone_after_it(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(5, "1")))
    alice.says(auth())
    alice.hears(SessionOpened(NUMBER), last_page(receipt(6, "other")))
    assert alice.session.deliveries.receipts_written == 6
    alice.frames()
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1")]


def test_a_repeated_login_starts_from_the_first_entry_and_page(alice: Client) -> None:
    alice.hears(live(message(1)), page(message(2)), page(message(3)))
    alice.says(auth())
    alice.hears(SessionOpened(NUMBER))
    alice.requests()
    alice.is_announced()
    assert alice.requests() == [announced(QUEUE, 0)]
    alice.says(auth())
    alice.hears(page(message(1), queue=True, more=True))
    assert alice.requests() == [plain.ready(NUMBER, 1, 1)]


def test_a_repeated_login_forgets_what_was_asked_before_it(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.says(auth())
    alice.requests()
    alice.hears(SessionOpened(NUMBER), last_page(), live(message(1)))

    assert alice.frames() == [AUTH_SUCCESS, EMPTY_Q, *seen(message(1))]
    alice.slows()
    assert alice.requests() == [plain.pause(NUMBER, 1)]
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 1)]


def test_receipts_of_before_a_repeated_login_must_be_written_again_to_be_confirmed(
    alice: Client,
) -> None:
    alice.hears(live(receipt(5)))
    assert alice.session.deliveries.receipts_written == 5
    alice.says(auth())
    alice.hears(SessionOpened(NUMBER))
    assert alice.session.deliveries.receipts_written == 0
    alice.hears(last_page(receipt(5)))
    assert alice.session.deliveries.receipts_written == 5


def test_a_refused_repeated_login_leaves_the_session_as_it_was(alice: Client) -> None:
    alice.says(auth(), action("1"))
    alice.requests()
    alice.hears(SessionRefused(NUMBER, 503, "later", 1))

    assert [(tag, body["code"]) for tag, body in alice.frames()] == [("auth", 503)]
    assert [type(request) for request in alice.requests()] == [SendToUser]
    alice.hears(live(message(1)))
    assert alice.frames() == seen(message(1))


def test_a_page_that_a_repeated_login_crossed_is_asked_for_again_if_that_is_refused(
    alice: Client,
) -> None:
    alice.slows()
    alice.drains()
    alice.requests()
    alice.says(auth())
    alice.hears(page(message(1)), live(message(2)))
    assert alice.frames() == []
    alice.requests()

    alice.hears(SessionRefused(NUMBER, 503, "later", 1))
    assert alice.requests() == [plain.ready(NUMBER, 0, 2)]
    alice.frames()
    alice.hears(page(message(1), message(2)))
    assert alice.frames() == seen(message(1), message(2))


def test_a_client_that_reads_again_during_its_login_does_not_disturb_it(alice: Client) -> None:
    alice.slows()
    alice.says(auth())
    alice.requests()

    alice.drains()

    assert alice.requests() == []


# ---------------------------------------------------------------------------------- sending


def test_a_send_to_a_user_goes_to_its_worker_and_is_kept_until_answered(alice: Client) -> None:
    alice.says(action("1"))

    (send,) = alice.requests()
    assert isinstance(send, SendToUser)
    assert (send.request, send.author, send.chat) == (FIRST_REQUEST, ALICE, BOB)
    assert (send.message_id, send.time_s) == ("1", SENT_AT)
    assert json.loads(send.frame)[2][0]["key"] == {
        "fromMe": False,
        "id": "1",
        "remoteJid": f"{ALICE}@s.whatsapp.com",
    }
    assert alice.port.durable == [send]
    assert slot_of(BOB) in alice.port.slots
    assert alice.frames() == []


def test_a_send_to_a_group_goes_to_the_worker_of_the_group(alice: Client) -> None:
    alice.says(action("1", to=f"{GROUP}@g.us"))

    (send,) = alice.requests()
    assert isinstance(send, SendToGroup)
    assert (send.author, send.chat) == (ALICE, GROUP)
    assert alice.port.durable == [send]
    assert slot_of(GROUP) in alice.port.slots


def test_ack_1_says_what_was_stored(alice: Client) -> None:
    alice.says(action("1"), action("2", to=f"{GROUP}@g.us"))
    alice.hears(plain.stored(FIRST_REQUEST, 42), plain.stored(FIRST_REQUEST + 1, 43))

    in_group = frames.stored_for_group(message_id="2", author=ALICE, group=GROUP, time_s=43)
    assert alice.frames() == [ack_1("1", time_s=42), json.loads(in_group)]


def test_acks_1_are_in_the_order_of_the_sends_whatever_answers_first(alice: Client) -> None:
    alice.says(action("1", "2"), action("3", to=CAROL))
    alice.hears(plain.stored(FIRST_REQUEST + 2, SENT_AT), plain.stored(FIRST_REQUEST + 1, SENT_AT))
    assert alice.frames() == []
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), ack_1("2"), ack_1("3", CAROL)]


def test_errors_come_in_their_turn(alice: Client) -> None:
    faulty = action("2", to="?")[2][0]
    alice.says(["action", {"add": "relay"}, [*action("1")[2], faulty, *action("3", "4")[2]]])
    alice.hears(
        plain.refused(FIRST_REQUEST + 2, 507, "full"), plain.stored(FIRST_REQUEST + 3, SENT_AT)
    )
    assert alice.frames() == []
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    first, *errors, fourth = alice.frames()
    assert (first, fourth) == (ack_1("1"), ack_1("4"))
    assert error_codes(errors) == [(400, "action", "2"), (507, "action", "3")]


def test_an_error_with_nothing_before_it_comes_at_once(alice: Client) -> None:
    alice.says(action("1", to="?"))

    assert error_codes(alice.frames()) == [(400, "action", "1")]
    assert alice.requests() == []


def test_only_a_refusal_for_now_says_when_to_try_again(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.hears(
        plain.refused(FIRST_REQUEST, 503, "moved"), plain.refused(FIRST_REQUEST + 1, 404, "unknown")
    )

    (_, moved), (_, unknown) = alice.frames()
    assert moved["retryAfter"] >= 1
    assert "retryAfter" not in unknown


def test_answers_that_nobody_waits_for_are_ignored(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    alice.frames()
    alice.hears(
        plain.stored(FIRST_REQUEST, SENT_AT),
        plain.refused(FIRST_REQUEST, 404, "x"),
        plain.stored(1, 1),
    )

    assert alice.frames() == []


def test_a_receipt_never_comes_before_the_ack_1_of_its_message(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.hears(live(receipt(11, "2")), live(receipt(12, "other")), live(message(13)))
    assert alice.frames() == seen(receipt(12, "other"), message(13))
    alice.hears(plain.stored(FIRST_REQUEST + 1, SENT_AT), live(receipt(14, "2", level=3)))
    assert alice.frames() == []

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [
        ack_1("1"),
        ack_1("2"),
        *seen(receipt(11, "2"), receipt(14, "2", level=3)),
    ]


def test_a_receipt_that_came_in_a_page_waits_for_the_ack_1_too(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(page(receipt(11, "1"), message(12)))
    assert alice.frames() == seen(message(12))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(11, "1"))]


def test_with_one_id_in_two_chats_a_receipt_waits_for_both(alice: Client) -> None:
    alice.says(action("1", to=BOB), action("1", to=CAROL))
    alice.hears(live(receipt(11, "1")), plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.frames() == [ack_1("1")]
    alice.hears(live(receipt(12, "1", level=3)), plain.stored(FIRST_REQUEST + 1, SENT_AT))

    receipts = seen(receipt(11, "1"), receipt(12, "1", level=3))
    assert alice.frames() == [ack_1("1", CAROL), *receipts]


def test_a_receipt_of_a_refused_send_follows_the_error(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(11, "1")), plain.refused(FIRST_REQUEST, 409, "used"))

    error, *rest = alice.frames()
    assert error_codes([error]) == [(409, "action", "1")]
    assert rest == seen(receipt(11, "1"))


@pytest.fixture
def full_at_4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_PENDING_SENDS", 4)
    monkeypatch.setattr(backlog, "MAX_HELD_BYTES", 1)


def ids_of(requests: list[ToWorker]) -> list[str]:
    """The ids of the messages that were asked to be stored."""
    return [request.message_id for request in requests if isinstance(request, SendToUser)]


@pytest.mark.usefixtures("full_at_4")
def test_too_many_sends_without_an_answer_hold_the_client_until_half_are_answered(
    alice: Client,
) -> None:
    alice.says(action("1", "2", "3"))
    assert not alice.port.holds
    alice.says(action("4", to="?"))
    assert not alice.port.holds
    alice.says(action("5"))
    assert alice.port.holds & Hold.PENDING

    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.port.holds & Hold.PENDING
    alice.hears(plain.stored(FIRST_REQUEST + 1, SENT_AT))
    assert not alice.port.holds


@pytest.mark.usefixtures("full_at_4")
def test_what_came_behind_too_many_sends_is_taken_in_order_as_they_are_answered(
    alice: Client,
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))
    assert ids_of(alice.requests()) == ["1", "2", "3", "4"]

    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(2)))
    assert ids_of(alice.requests()) == ["5", "6"]
    assert alice.port.holds & Hold.PENDING
    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(2, 4)))
    assert ids_of(alice.requests()) == ["7", "8"]
    assert not alice.port.holds
    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(4, 8)))
    assert not alice.port.holds
    assert alice.frames() == [ack_1(str(number), BOB) for number in range(1, 9)]


def test_a_client_with_too_many_sends_is_read_until_too_much_is_held(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that its pings are answered and its pongs taken while a worker is away."""
    monkeypatch.setattr(answers, "MAX_PENDING_SENDS", 4)
    monkeypatch.setattr(backlog, "MAX_HELD_BYTES", 2000)
    for number in range(1, 9):
        alice.says(action(str(number)))
    assert not alice.port.holds

    for number in range(9, 19):
        alice.says(action(str(number)))
    assert alice.port.holds & Hold.PENDING

    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(18)))
    assert not alice.port.holds
    assert alice.frames() == [ack_1(str(number), BOB) for number in range(1, 19)]


@pytest.mark.usefixtures("full_at_4")
def test_what_came_behind_too_many_sends_is_not_dropped_when_the_client_goes(
    alice: Client,
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))

    alice.is_lost()

    *sends, last = alice.requests()
    assert ids_of(sends) == ["1", "2", "3", "4", "5", "6", "7", "8"]
    assert isinstance(last, CloseSession)


@pytest.mark.usefixtures("full_at_4")
def test_i7_a_fault_at_a_frame_that_waited_does_not_keep_the_session_from_ending(
    alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))
    alice.requests()

    def fail(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Codec, "decode", fail)
    with pytest.raises(RuntimeError):
        alice.is_lost()
    alice.take()

    assert [type(request) for request in alice.requests()] == [CloseSession]
    assert not alice.session.is_read


@pytest.mark.usefixtures("full_at_4")
def test_nothing_is_taken_any_more_from_a_client_that_is_sent_away_behind_too_many_sends(
    alice: Client,
) -> None:
    for number in range(1, 9):
        alice.says(action(str(number)))

    alice.ends(1012, "shutdown")

    assert ids_of(alice.requests()) == ["1", "2", "3", "4"]


@pytest.mark.usefixtures("full_at_4")
def test_a_login_behind_too_many_sends_holds_what_follows_it(alice: Client) -> None:
    alice.says(action("1", "2", "3", "4"))
    alice.says(auth())
    alice.says(action("5"))

    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(4)))
    assert alice.port.holds & Hold.LOGIN
    assert isinstance(alice.requests()[-1], OpenSession)
    alice.hears(SessionOpened(NUMBER), last_page())

    assert ids_of(alice.requests()) == ["5"]
    assert not alice.port.holds


@pytest.mark.usefixtures("full_at_4")
def test_too_many_sends_behind_a_login_hold_the_client_too(alice: Client) -> None:
    alice.says(auth())
    for number in range(1, 7):
        alice.says(action(str(number)))
    alice.requests()

    alice.hears(SessionOpened(NUMBER), last_page())
    assert ids_of(alice.requests()) == ["1", "2", "3", "4"]
    assert alice.port.holds & Hold.PENDING
    alice.hears(*(plain.stored(FIRST_REQUEST + n, SENT_AT) for n in range(4)))

    assert ids_of(alice.requests()) == ["5", "6"]
    assert not alice.port.holds


def test_sessions_never_share_a_request_number() -> None:
    first, second = Client(), Client()
    second.session = Session(NUMBER + 1, Codec(Settings().limits), Settings())
    for client in (first, second):
        client.says(auth())
        client.hears(SessionOpened(NUMBER), last_page())
        client.requests()
        client.says(action("1"))

    (one,), (other,) = first.requests(), second.requests()
    assert isinstance(one, SendToUser)
    assert isinstance(other, SendToUser)
    assert (one.request >> 32, other.request >> 32) == (NUMBER, NUMBER + 1)


def test_an_ack_goes_to_the_ackers_own_worker_and_gets_no_answer(alice: Client) -> None:
    alice.says(["Msg", {"id": "1", "ack": "3", "to": ALICE, "t": SENT_AT, "from": BOB}])
    alice.says(["MsgInfo", {"id": ["1", "2"], "ack": 2, "to": f"{GROUP}@g.us", "from": BOB}])

    asked = alice.requests()
    assert asked == [
        Acked(ALICE, ["1"], 3, BOB, False, ALICE, False, SENT_AT),
        Acked(ALICE, ["1", "2"], 2, BOB, False, GROUP, True, -1),
    ]
    assert alice.port.durable == asked
    assert alice.port.slots == {slot_of(ALICE)}
    assert alice.frames() == []


# ------------------------------------------------------------------------- strikes and rates


def test_r28_the_20th_malformed_frame_in_the_window_closes_the_connection(alice: Client) -> None:
    alice.says(*[b"?"] * 19)
    assert alice.port.closed is None
    alice.says(b"?", b"?,,")

    assert len(alice.frames()) == 20
    assert alice.port.close_code == 1008
    assert alice.requests() == [CloseSession(NUMBER)]


def test_r28_old_strikes_are_forgotten(alice: Client) -> None:
    alice.says(*[b"?"] * 19)
    alice.now_ms += 60_000
    alice.says(*[b"?"] * 19)
    assert alice.port.closed is None
    alice.now_ms += 59_999
    alice.says(b"?")
    assert alice.port.close_code == 1008


def test_r28_unauthenticated_frames_are_strikes(client: Client) -> None:
    client.says(*[action("1")] * 10, *[ack_frame()] * 10)

    assert client.port.close_code == 1008


def test_r28_a_refused_message_is_no_strike(alice: Client) -> None:
    alice.says(*[action("1", to="?")] * 50)

    assert len(alice.frames()) == 50
    assert alice.port.closed is None


def test_a_fault_that_the_connection_found_is_a_strike_too() -> None:
    alice = logged_in(limits={"malformed_frames": 2})
    alice.refuses(Refusal(400, "not UTF-8"))
    assert error_codes(alice.frames()) == [(400, "", "")]
    alice.says(b"?")
    assert alice.port.close_code == 1008
    alice.refuses(Refusal(400, "not UTF-8"))


def test_without_a_rate_any_number_of_frames_is_taken(alice: Client) -> None:
    for number in range(500):
        alice.says(action(str(number)))
        alice.hears(plain.stored(FIRST_REQUEST + number, SENT_AT))

    assert alice.frames() == [ack_1(str(number), BOB) for number in range(500)]
    assert len(alice.requests()) == 500


def test_beyond_the_burst_sends_and_acks_get_429() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(action("1"), ack_frame(), action("2"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT), plain.stored(FIRST_REQUEST + 1, SENT_AT))
    alice.frames()
    alice.requests()

    alice.says(action("3", "4"), ack_frame(), ["MsgInfo", ack_frame()[1]])

    written = alice.frames()
    assert error_codes(written) == [
        (429, "action", "3"),
        (429, "action", "4"),
        (429, "Msg", ""),
        (429, "MsgInfo", ""),
    ]
    assert all(body["retryAfter"] >= 1 for _, body in written)
    assert alice.requests() == []
    assert alice.port.closed is None


def test_2_3_2_the_rate_comes_behind_the_shape_and_before_what_it_holds() -> None:
    alice = logged_in(limits={"frames_per_s": 0.1, "frames_burst": 1})
    alice.says(action("1"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    alice.frames()
    no_message, no_jid = action("2"), action("3")
    del no_message[2][0]["message"]
    no_jid[2][0]["key"]["remoteJid"] = "nobody@example.com"

    alice.says(no_message, no_jid)

    assert error_codes(alice.frames()) == [(400, "action", "2"), (429, "action", "3")]


def test_tokens_come_back_at_the_rate_up_to_the_burst() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(*[ack_frame()] * 4)
    assert len(alice.frames()) == 1
    alice.now_ms += 1000
    alice.says(*[ack_frame()] * 4)
    assert len(alice.frames()) == 2
    alice.now_ms += 1_000_000
    alice.says(*[ack_frame()] * 4)
    assert len(alice.frames()) == 1


def test_a_clock_that_goes_back_costs_no_tokens() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(ack_frame())
    alice.now_ms -= 3_600_000
    alice.says(ack_frame(), ack_frame())

    assert alice.frames() == []


def test_a_rate_that_is_set_later_holds_from_then_on(alice: Client) -> None:
    alice.says(*[ack_frame()] * 4)

    alice.session.adopt(settings_with(limits={"frames_per_s": 2.0, "frames_burst": 3}))

    alice.says(*[ack_frame()] * 4)
    assert error_codes(alice.frames()) == [(429, "Msg", "")]


def test_a_rate_that_is_lifted_holds_nobody_back_any_more() -> None:
    alice = logged_in(limits={"frames_per_s": 2.0, "frames_burst": 3})
    alice.says(*[ack_frame()] * 3)

    alice.session.adopt(settings_with())

    alice.says(*[ack_frame()] * 4)
    assert alice.frames() == []


def test_fewer_malformed_frames_may_be_allowed_later(alice: Client) -> None:
    alice.session.adopt(settings_with(limits={"malformed_frames": 2}))

    alice.says(["?"], ["?"])

    assert alice.port.close_code == 1008


def test_a_refusal_for_the_rate_comes_in_its_turn() -> None:
    alice = logged_in(limits={"frames_per_s": 0.1, "frames_burst": 1})
    alice.says(action("1"), action("2"))
    assert alice.frames() == []
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    first, second = alice.frames()
    assert first == ack_1("1")
    assert error_codes([second]) == [(429, "action", "2")]
    assert second[1]["retryAfter"] == 10


# ---------------------------------------------------------------------------------- the end


def test_a_session_that_no_worker_serves_any_more_is_closed(alice: Client) -> None:
    """Its worker died, and the next incarnation refuses it: it would hear of nothing any more."""
    alice.is_announced()
    alice.hears(SessionRefused(NUMBER, 500, "set aside", 0))

    assert alice.port.close_code == 1011


def test_r27_a_session_that_is_replaced_is_told_and_closed(alice: Client) -> None:
    alice.is_taken_over()

    assert alice.frames() == [["Cmd", {"type": "disconnect", "kind": "replaced"}]]
    assert alice.port.close_code == 4409
    alice.is_taken_over()


def test_nothing_is_taken_or_written_after_the_end(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.ends(1012, "shutdown", frames.DISCONNECT_SHUTDOWN)
    assert alice.frames() == [["Cmd", {"type": "disconnect", "kind": "shutdown"}]]
    assert alice.requests()[-1] == CloseSession(NUMBER)
    assert not alice.session.is_read

    after_the_end(alice)


def test_nothing_is_taken_or_written_after_the_connection_is_gone(alice: Client) -> None:
    alice.says(action("1", "2"))
    alice.is_lost()
    assert alice.requests()[-1] == CloseSession(NUMBER)

    after_the_end(alice)
    assert alice.port.closed is None


def after_the_end(client: Client) -> None:
    client.says(action("3"), auth(), b"?,,", b"?")
    client.hears(
        plain.stored(FIRST_REQUEST, SENT_AT),
        plain.refused(FIRST_REQUEST + 1, 404, "x"),
        live(message(1)),
        page(message(2), more=True),
        last_page(message(3)),
        SessionOpened(NUMBER),
        SessionRefused(NUMBER, 503, "late", 1),
    )
    client.refuses(Refusal(400, "late"))
    client.slows()
    client.drains()
    client.pongs(9)
    client.is_announced()
    client.is_overdue()
    client.ends(1000, "again")
    client.is_lost()

    assert client.frames() == []
    assert client.requests() == []
    assert not client.session.login.has_worker


def test_an_end_before_the_login_asks_no_worker(client: Client) -> None:
    client.is_lost()

    assert client.requests() == []


def test_an_end_during_the_login_takes_the_session_back(client: Client) -> None:
    client.says(auth(), action("1"))
    client.is_lost()

    assert client.requests()[-1] == CloseSession(NUMBER)
    after_the_end(client)


@pytest.mark.parametrize(("written", "told"), [(None, 8), (7, 7), (0, 0)])
def test_2_7_the_worker_hears_how_far_entries_were_written_when_the_connection_was_lost(
    alice: Client, written: int | None, told: int
) -> None:
    alice.is_delivered(7, "", b"one")
    alice.is_delivered(8, "", b"two")
    assert alice.session.deliveries.cursor == 8

    alice.is_lost(written=written)

    assert alice.requests()[-1] == plain.close_session(NUMBER, told)


# ---------------------------------------------------------------------------------- receipts


def test_r7_a_ping_is_asked_for_after_a_receipt_but_not_after_a_message(alice: Client) -> None:
    alice.hears(live(message(3)))
    assert (alice.port.receipts, alice.session.deliveries.receipts_written) == (0, 0)
    alice.hears(live(receipt(4)))
    assert (alice.port.receipts, alice.session.deliveries.receipts_written) == (1, 4)


def test_r7_receipts_in_the_queue_count_once_the_queue_is_written(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(receipt(1), receipt(2), queue=True, more=True))
    assert (client.port.receipts, client.session.deliveries.receipts_written) == (0, 0)
    client.hears(last_page(message(3)))
    assert client.port.receipts
    assert client.session.deliveries.receipts_written == 2


def test_r7_a_receipt_that_waits_for_its_ack_1_is_not_confirmed_by_later_ones(
    alice: Client,
) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(11, "1")), live(receipt(12, "other")))
    assert alice.session.deliveries.receipts_written == 10
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))
    assert alice.session.deliveries.receipts_written == 12


def test_r19_a_receipt_that_is_not_stored_is_never_confirmed(alice: Client) -> None:
    alice.says(action("1"))
    alice.hears(live(receipt(0, "1")), live(receipt(0, "other")))
    assert alice.frames() == seen(receipt(0, "other"))
    alice.hears(plain.stored(FIRST_REQUEST, SENT_AT))

    assert alice.frames() == [ack_1("1"), *seen(receipt(0, "1"))]
    assert (alice.port.receipts, alice.session.deliveries.receipts_written) == (0, 0)


def test_r7_a_pong_is_passed_on_and_survives_the_worker(alice: Client) -> None:
    alice.pongs(0)
    assert alice.requests() == []
    alice.pongs(4)
    assert alice.requests() == alice.port.durable == [plain.confirmed(NUMBER, 4)]


# ------------------------------------------------------------------------------ flow control


def test_a_client_that_stops_reading_has_the_worker_pause(alice: Client) -> None:
    alice.hears(live(message(1)))
    alice.slows()
    assert alice.requests() == [plain.pause(NUMBER, 1)]
    alice.hears(live(message(2)), live(receipt(3)))
    assert alice.frames() == seen(message(1))
    assert alice.session.deliveries.receipts_written == 0

    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 1)]
    alice.hears(live(message(4)))
    assert alice.frames() == []

    alice.hears(page(message(2), receipt(3), message(4)), live(message(5)))
    assert alice.frames() == seen(message(2), receipt(3), message(4), message(5))
    assert alice.requests() == []


def test_a_page_for_a_client_that_does_not_read_is_the_last_for_now(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.requests()
    alice.slows()
    assert alice.requests() == []

    alice.hears(page(message(1), more=True))
    assert alice.frames() == seen(message(1))
    assert alice.requests() == []
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 2)]


def test_after_the_last_page_a_client_that_does_not_read_pauses_the_worker(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.slows()
    alice.requests()

    alice.hears(page(message(1)))
    assert alice.requests() == [plain.pause(NUMBER, 1)]
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 2)]


def test_the_queue_waits_for_a_client_that_does_not_read(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER))
    client.requests()
    client.slows()
    client.hears(page(message(1), queue=True, more=True))
    assert client.requests() == []
    client.drains()
    assert client.requests() == [plain.ready(NUMBER, 1, 1)]

    client.slows()
    client.hears(last_page(message(2)))
    assert client.requests() == [plain.pause(NUMBER, 2)]
    client.drains()
    assert client.requests() == [plain.ready(NUMBER, 2, 2)]


def test_a_page_that_crossed_the_pause_needs_no_other(alice: Client) -> None:
    alice.slows()
    assert alice.requests() == [plain.pause(NUMBER, 0)]
    alice.hears(page(message(1)))
    assert alice.requests() == []
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 2)]


def test_a_client_that_reads_on_before_its_page_came_asks_once(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.slows()
    alice.drains()

    assert alice.requests() == [plain.pause(NUMBER, 0), plain.ready(NUMBER, 0, 1)]


# -------------------------------------------------------------------------- a worker's return


def test_a_new_worker_is_told_of_a_login_that_is_not_answered(client: Client) -> None:
    client.says(auth())
    client.requests()
    client.is_announced()

    assert client.requests() == [plain.open_session(NUMBER, ALICE, LOGIN, 0)]
    client.hears(SessionOpened(NUMBER), last_page())
    assert client.frames() == [AUTH_SUCCESS, EMPTY_Q]


def test_a_new_worker_goes_on_with_the_queue(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER), page(message(1), queue=True, more=True))
    client.requests()
    client.is_announced()

    assert client.requests() == [plain.open_session(NUMBER, ALICE, QUEUE, 1, NOW_MS)]
    client.hears(last_page(message(2), more=True))
    assert client.requests() == [plain.ready(NUMBER, 2, 1)]
    answer, q_frame = client.frames()
    assert answer == AUTH_SUCCESS
    assert in_q(q_frame) == seen(message(1), message(2))


def test_a_new_worker_goes_on_behind_the_last_live_frame(alice: Client) -> None:
    alice.hears(live(message(1)), live(message(2)))
    alice.is_announced()

    assert alice.requests() == [plain.open_session(NUMBER, ALICE, LIVE, 2, NOW_MS)]
    alice.hears(page(message(3), more=True))
    assert alice.requests() == [plain.ready(NUMBER, 3, 1)]
    assert alice.frames() == seen(message(1), message(2), message(3))


def test_a_new_worker_is_told_that_the_client_does_not_read(alice: Client) -> None:
    alice.slows()
    alice.hears(live(message(1)))
    alice.requests()
    alice.is_announced()
    assert alice.requests() == [
        plain.open_session(NUMBER, ALICE, LIVE, 0, NOW_MS),
        plain.pause(NUMBER, 0),
    ]

    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 0, 0)]


def test_what_was_asked_of_the_old_worker_is_not_waited_for(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.requests()
    alice.is_announced()
    alice.hears(live(message(1)))

    assert alice.requests() == [plain.open_session(NUMBER, ALICE, LIVE, 0, NOW_MS)]
    assert alice.frames() == seen(message(1))


def test_before_a_login_there_is_nothing_to_announce(client: Client) -> None:
    client.is_announced()

    assert client.requests() == []


# ------------------------------------------------------------------------------ the machine


class ModelWorker:
    """A worker that serves one user: `workers.shard` as far as a session can tell.

    Entries only leave the mailbox as confirmed receipts. What it sends without being asked while
    the session is live is a live frame, or a page that has the session ask.
    """

    PAGE = 2  # entries

    def __init__(self, mailbox: list[Entry]) -> None:
        self.mailbox = mailbox
        self.sent: list[ToFront] = []
        self.state = "absent"
        self.cursor = self.barrier = self.pages = 0

    def handle(self, envelope: ToWorker) -> None:
        match envelope:
            case OpenSession():
                self.cursor, self.pages = envelope.cursor, 0
                self.barrier = 0 if envelope.phase == LIVE else self._last_seq() or 1
                if envelope.phase == LOGIN:
                    self.sent.append(SessionOpened(NUMBER))
                if envelope.phase != LIVE:
                    self._send_page()
                elif self._last_seq() > self.cursor:
                    self._send_page(has_it_ask=True)
                else:
                    self.state = "live"
            case Ready():
                if envelope.pages == self.pages:
                    self.cursor = envelope.cursor
                elif self.state == "reading":
                    return
                self._send_page()
            case Pause():
                if self.state != "reading":
                    self.state = "paused"
            case Confirmed():
                self.mailbox[:] = [
                    entry
                    for entry in self.mailbox
                    if not (entry.receipt_for and entry.seq <= envelope.seq)
                ]
            case CloseSession():
                self.state = "absent"
            case _:
                raise AssertionError(envelope)

    def add(self, entry: Entry, *, link_is_full: bool) -> None:
        self.mailbox.append(entry)
        if self.state != "live":
            return
        if link_is_full:
            self._nudge()
        else:
            self.cursor = entry.seq
            self.sent.append(live(entry))

    def _nudge(self) -> None:
        self.state = "reading"
        self.pages += 1
        self.sent.append(page(more=True))

    def _last_seq(self) -> int:
        return self.mailbox[-1].seq if self.mailbox else 0

    def _send_page(self, *, has_it_ask: bool = False) -> None:
        in_queue = self.barrier > 0
        waiting = [entry for entry in self.mailbox if entry.seq > self.cursor]
        due = [entry for entry in waiting if not in_queue or entry.seq <= self.barrier]
        entries, ends = due[: self.PAGE], len(due) <= self.PAGE
        if entries:
            self.cursor = entries[-1].seq
        more = has_it_ask or len(waiting) > len(entries)
        if ends:
            self.barrier = 0
        self.state = "reading" if more else "live"
        self.pages += 1
        self.sent.append(page(*entries, queue=in_queue, last=in_queue and ends, more=more))


class SessionMachine(RuleBasedStateMachine):
    """One session, its client, its own worker, and two more that answer its sends."""

    def __init__(self) -> None:
        super().__init__()
        settings = settings_with(flow={"q_frame_bytes": 4096})
        self.session = Session(NUMBER, Codec(settings.limits), settings)
        self.mailbox: list[Entry] = []
        self.worker = ModelWorker(self.mailbox)
        self.to_worker: deque[ToWorker] = deque()
        self.to_front: deque[ToFront] = deque()
        self.unconfirmed: list[ToWorker] = []  # repeated to the worker's next incarnation
        self.answers: dict[str, deque[ToFront]] = {BOB: deque(), CAROL: deque()}
        self.holds: int = 0
        self.is_blocked = False
        self.logins_held = 0
        self.asked: str | None = None  # a Ready or Pause that no page has followed yet
        self.seq = 0
        self.sends: list[str] = []
        # What the client saw: in this login, and ever.
        self.phase = "new"
        self.acked: list[str] = []
        self.messages: list[int] = []
        self.receipts: set[int] = set()
        self.ever: set[int] = set()

    # ------------------------------------------------------------------ what the session wants

    def _take(self) -> None:
        """Do what the session wants done, as its connection does."""
        out = self.session.out
        for frame in out.frames:
            self._write(frame)
        out.frames.clear()
        for _, content, durable in out.envelopes:
            self._request(content, durable=durable)
        out.envelopes.clear()
        assert out.closing is None
        if out.notes:
            out.take_notes()
            self.session.go_on(NOW_MS)
            self._take()
        self.holds = out.hold

    def _write(self, frame: bytes) -> None:
        tag, *rest = json.loads(frame)
        match tag:
            case "auth":
                assert rest[0]["status"] == "success"
                self.phase = "q"
                self.messages, self.receipts = [], set()
            case "q":
                assert self.phase == "q", "a q that no auth precedes, or behind a live frame"
                for queued in in_q([tag, *rest]):
                    self._see(*queued)
            case _:
                if self.phase == "q":
                    self.phase = "live"
                assert self.phase == "live", f"{frame!r} before the auth"
                self._see(tag, *rest)

    def _see(self, tag: str, *rest: Any) -> None:
        if tag == "action":
            seq = int(rest[1][0]["key"]["id"][1:])
            self.messages.append(seq)
            self.ever.add(seq)
            return
        (body,) = rest
        assert tag == "Msg"
        if body["ack"] == 1:
            self.acked.append(body["id"])
            return
        seq = body["t"]
        assert seq not in self.receipts, f"receipt {seq} twice"
        assert body["id"] in self.acked, f"receipt {seq} before the ack 1 of its message"
        self.receipts.add(seq)
        self.ever.add(seq)

    def _request(self, envelope: ToWorker, *, durable: bool) -> None:
        match envelope:
            case SendToUser():
                self.answers[envelope.chat].append(Stored(envelope.request, envelope.time_s))
                return
            case Ready():
                assert self.asked != "ready", "two Readys and no page between them"
                self.asked = "ready"
            case Pause():
                assert self.asked is None, f"a pause behind {self.asked}"
                self.asked = "pause"
            case OpenSession():
                self.asked = None
            case _:
                pass
        assert durable == isinstance(envelope, Confirmed)
        self.to_worker.append(envelope)
        if durable:
            self.unconfirmed.append(envelope)

    # ------------------------------------------------------------------------------- events

    @initialize(waiting=st.integers(0, 5), arrives=st.booleans())
    def log_in_first(self, waiting: int, arrives: bool) -> None:
        for _ in range(waiting):
            self.a_message_comes(link_is_full=False)
        self._log_in()
        if arrives:
            self._settle()

    def _say(self, frame: object) -> None:
        self.session.receive(json.dumps(frame).encode(), now_ms=NOW_MS)
        self._take()

    def _log_in(self) -> None:
        self._say(auth())

    @rule(link_is_full=st.sampled_from([False, False, False, True]))
    def a_message_comes(self, link_is_full: bool) -> None:
        self.seq += 1
        self.worker.add(message(self.seq), link_is_full=link_is_full)
        self._carry()

    @rule(which=st.integers(0, 3))
    @precondition(lambda self: self.sends)
    def a_receipt_comes(self, which: int) -> None:
        """Also for a send that is stored but whose answer is still on its way."""
        self.seq += 1
        message_id = self.sends[-1 - which % len(self.sends)]
        frame = frames.receipt(
            message_id=message_id, level=2, author=ALICE, acker=BOB, group="", time_s=self.seq
        )
        self.worker.add(plain.entry(self.seq, message_id, frame), link_is_full=False)
        self._carry()

    @rule(to=st.sampled_from([BOB, CAROL]))
    @precondition(lambda self: self.session.login.user and not self.holds)
    def send(self, to: str) -> None:
        self.sends.append(f"s{len(self.sends)}")
        self._say(action(self.sends[-1], to=to))

    @rule(to=st.sampled_from([BOB, CAROL]))
    @precondition(lambda self: any(self.answers.values()))
    def answer_a_send(self, to: str) -> None:
        if self.answers[to]:
            self._deliver(self.answers[to].popleft())

    @rule(by_worker=st.integers(0, 4), by_front=st.integers(0, 4))
    @precondition(lambda self: self.to_worker or self.to_front)
    def the_links_are_read(self, by_worker: int, by_front: int) -> None:
        for _ in range(min(by_worker, len(self.to_worker))):
            envelope = self.to_worker.popleft()
            self.worker.handle(envelope)
            if envelope in self.unconfirmed:
                self.unconfirmed.remove(envelope)
        self._carry()
        for _ in range(min(by_front, len(self.to_front))):
            self._deliver(self.to_front.popleft())

    @rule()
    def the_client_stops_reading_or_goes_on(self) -> None:
        self.is_blocked = not self.is_blocked
        if self.is_blocked:
            self.session.deliveries.slowed()
        else:
            self.session.deliveries.drained()
        self._take()

    @rule(what=st.sampled_from(["login", "restart", "pong"]))
    def something_rare_happens(self, what: str) -> None:
        match what:
            case "login":
                # Up to two more that came with a login in one read, and wait behind it.
                if not self.holds or self.logins_held < 2:
                    self.logins_held += bool(self.holds)
                    self._log_in()
            case "restart":
                self._restart()
            case "pong":
                deliveries = self.session.deliveries
                deliveries.confirmed(deliveries.receipts_written)
                self._take()

    def _restart(self) -> None:
        self.to_worker.clear()
        self.to_front.clear()
        self.worker = ModelWorker(self.mailbox)
        repeated, self.unconfirmed = self.unconfirmed, []
        self.session.announce()
        self._take()
        self.to_worker.extend(repeated)
        self.unconfirmed += repeated

    def _carry(self) -> None:
        self.to_front.extend(self.worker.sent)
        self.worker.sent = []

    def _deliver(self, envelope: ToFront) -> None:
        match envelope:
            case SessionOpened():
                self.logins_held = 0
                self.session.opened(now_ms=NOW_MS)
            case Page():
                self.asked = None
                self.session.page(envelope, now_ms=NOW_MS)
            case Deliver():
                self.session.deliveries.deliver(envelope.seq, envelope.receipt_for, envelope.frame)
            case Stored():
                self.session.stored(envelope.request, envelope.time_s)
            case _:
                raise AssertionError(envelope)
        self._take()

    # ---------------------------------------------------------------------------- what holds

    @invariant()
    def messages_are_seen_once_in_order_and_without_a_gap(self) -> None:
        stored = [entry.seq for entry in self.mailbox if not entry.receipt_for]
        assert self.messages == stored[: len(self.messages)]

    @invariant()
    def acks_1_are_in_the_order_of_the_sends(self) -> None:
        assert self.acked == self.sends[: len(self.acked)]

    @invariant()
    def a_pong_now_would_confirm_nothing_that_was_not_written(self) -> None:
        covered = {
            entry.seq
            for entry in self.mailbox
            if entry.receipt_for and entry.seq <= self.session.deliveries.receipts_written
        }
        assert covered <= self.ever

    def _settle(self) -> None:
        for _ in range(500):
            for to in self.answers:
                self.answer_a_send(to)
            self.the_links_are_read(4, 4)
            if not (self.to_worker or self.to_front or any(self.answers.values())):
                return
        raise AssertionError("the session and its worker never come to rest")

    def teardown(self) -> None:
        """Let everything arrive: then the client has seen all that waits, and nothing is stuck."""
        if self.is_blocked:
            self.the_client_stops_reading_or_goes_on()
        self._settle()
        assert not self.holds
        assert self.messages == [e.seq for e in self.mailbox if not e.receipt_for]
        assert self.acked == self.sends
        assert {e.seq for e in self.mailbox if e.receipt_for} <= self.receipts


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
