"""A session with a port that records what it did, and the frames and envelopes of its cases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from relay.bus.envelopes import (
    LOGIN,
    Deliver,
    DeliverReceipts,
    Entry,
    OpenSession,
    Page,
    Refused,
    Seq,
    SessionOpened,
    SessionRefused,
    Stored,
    ToFront,
    ToWorker,
)
from relay.errors import Refusal
from relay.extensions.registry import load
from relay.front.deliveries import Deliveries
from relay.front.output import Note
from relay.front.senders import Senders
from relay.front.session import Session
from relay.protocol import frames
from relay.protocol.codec import Codec
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
        self.counted: Counter[str] = Counter()
        self.told = 0  # units whose end it wants to hear of
        self.awaits_turn = False
        self.notes: list[Note] = []

    def take(self, session: Session) -> None:
        """Empty the session's output, as its connection does."""
        out = session.out
        for frame in out.frames:
            assert self.closed is None, f"written after the close: {frame!r}"
            self.frames.append(json.loads(frame) if frame.startswith(b"[") else frame)
        out.frames.clear()
        for slot, content, durable in out.envelopes or ():
            self.requests.append(content)
            self.slots.add(slot)
            if durable:
                self.durable.append(content)
        out.envelopes = None
        if self.holds != out.hold:
            assert out.has_news, "nobody would look at the holds"
        self.holds = out.hold
        if not out.has_news:
            self.receipts += out.receipts
            out.receipts = 0
            assert (out.told, out.counted, out.notes, out.closing) == (0, None, None, None)
            return
        out.has_news = False
        self.receipts += out.receipts
        self.counted.update(out.counted or {})
        notes = list(out.take_notes())
        self.notes += notes
        self.told += out.told
        self.awaits_turn |= out.awaits_turn
        out.awaits_turn = False
        out.receipts, out.told, out.counted = 0, 0, None
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

    def __init__(self, authors: Senders | None = None, **tables: Mapping[str, object]) -> None:
        settings = settings_with(**tables)
        self.port = RecordingPort()
        codec = Codec(settings.limits, load().rows)
        self.session = Session(NUMBER, codec, settings, authors=authors)
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
                case DeliverReceipts():
                    taken = self.deliveries.take_receipts(
                        envelope.seq, envelope.receipt_for, envelope.frames
                    )
                    self.session.out.frames += taken
                    self.session.out.receipts += len(taken)
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

    def confirms(self, seq: int) -> None:
        """Answer a ping that was sent behind the entries up to `seq`, and send a frame later."""
        self.deliveries.confirmed(Seq(seq))
        self.take()

    def has_long_turn(self) -> None:
        """Have the turn that it has asked for."""
        assert self.port.awaits_turn
        self.port.awaits_turn = False
        self.session.long_turn(self.now_ms)
        self.take()

    def work_is_done(self) -> None:
        """Have its worker confirm all that it was told up to here."""
        told, self.port.told = self.port.told, 0
        self.session.work_done(told, now_ms=self.now_ms)
        self.take()

    def is_announced(self) -> None:
        """Have its worker restarted."""
        self.session.announce()
        self.take()

    def is_lost(self) -> None:
        """Lose the connection."""
        self.session.lost()
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


def logged_in(authors: Senders | None = None, **tables: Mapping[str, object]) -> Client:
    client = Client(authors, **tables)
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
