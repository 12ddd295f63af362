"""What a worker takes of traced users, and what it says of them: looked at once a batch.

A batch costs one look at `users` while nobody is traced. While somebody is, what it has brought and
what it has to say is gone through once more, beside the decisions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from relay import clock, log
from relay.bus.envelopes import (
    Acked,
    AckedByMany,
    Ask,
    CloseSession,
    Confirmed,
    Deliver,
    DeliverReceipts,
    DeliverToMany,
    Durable,
    GroupCopy,
    OpenSession,
    Page,
    Pause,
    Ready,
    Receipt,
    Refused,
    SendToGroup,
    SendToUser,
    Stored,
    StrayAck,
    ToFront,
    ToWorker,
)
from relay.inquiries.contract import NoAnswer
from relay.inquiries.tracing import AskNotes, Notes, Trace, Traces
from relay.protocol.frames import id_of
from workers.inbox import Received
from workers.shard.effects import Effects, Identity
from workers.shard.readers import Readers

_OF_SESSION: Final = (Confirmed, Ready, Pause, CloseSession)
# Sends whose answer has not been seen: those of a batch or two. Beyond that an answer has no id.
_MAX_UNANSWERED: Final = 5000


class Tracing:
    """The one of a worker."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._traces = Traces()
        self.users = self._traces.of  # who is traced
        # Whose send a request is, and of which id.
        self._sends: dict[tuple[Identity, int], tuple[Trace, str]] = {}

    def asked(self, asked: AskNotes) -> Notes | NoAnswer:
        """Begin or go on to trace a user, and return what was noted."""
        self.tick()
        trace = self._traces.asked(asked, now_us=clock.now_us(), clock_ms=clock.clock_ms())
        if isinstance(trace, NoAnswer):
            return trace
        notes, reader = trace.notes(asked), self._readers.of_user(asked.user)
        if reader is None:
            return notes
        return replace(notes, front=reader.front.decode(), session=reader.number)

    def tick(self) -> None:
        """End what nobody asks for any more."""
        for ended in self._traces.take_ended(clock.clock_ms()):
            self._sends = {key: sent for key, sent in self._sends.items() if sent[0] is not ended}

    # ---------------------------------------------------------------------------- what comes in

    def took(self, received: Sequence[Received]) -> None:
        """Note what has come of traced users; some of it may wait for a later batch."""
        try:
            self._take(received)
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """End the traces, inside an except block: messages are worth more."""
        log.get_logger().exception("tracing.failed")
        self.users.clear()
        self._sends.clear()

    def _take(self, received: Sequence[Received]) -> None:
        at_us = clock.now_us()
        users = self.users
        readers = filter(None, map(self._readers.of_user, users))
        numbers = {reader.number for reader in readers}
        for each in received:
            for item in each.items:
                # Of others, which are nearly all, no more than a tenth of a microsecond each.
                if type(item) is SendToUser:
                    if item.author not in users and item.chat not in users:
                        continue
                elif type(item) is Acked:
                    if item.acker not in users and item.author not in users:
                        continue
                elif type(item) is AckedByMany:
                    if item.author not in users and users.keys().isdisjoint(item.ackers):
                        continue
                elif isinstance(item, _OF_SESSION) and item.session not in numbers:
                    continue
                for user in self._concerned(each.origin, item):
                    trace = self.users.get(user)
                    if trace is not None:
                        self._note_taken(trace, at_us, each, item)

    def _concerned(self, origin: Identity, item: ToWorker) -> Iterator[str]:
        """Yield whom it may be about, a user each once."""
        match item:
            case SendToUser() | SendToGroup():
                yield item.author
                if item.chat != item.author and type(item) is SendToUser:
                    yield item.chat
            case Acked():
                yield item.acker
                if item.author != item.acker:
                    yield item.author
            case AckedByMany():
                yield from self.users.keys() & {item.author, *item.ackers}
            case Durable(_, Receipt() as receipt):
                yield receipt.author
                if receipt.acker != receipt.author:
                    yield receipt.acker
            case Durable(_, GroupCopy() as copy):
                yield copy.author
                yield from (user for user in self.users if user in copy.members)
            case StrayAck():
                yield item.author
                yield item.acker
            case OpenSession() | Ask():
                yield item.user
            case Ready() | Pause() | Confirmed() | CloseSession():
                for user in self.users:
                    reader = self._readers.of_user(user)
                    if reader is not None and (reader.front, reader.number) == (
                        origin,
                        item.session,
                    ):
                        yield user
            case _:
                pass

    def _note_taken(self, trace: Trace, at_us: int, received: Received, item: ToWorker) -> None:
        user = trace.user
        origin = received.origin.decode(errors="replace")
        source = origin if received.peer is None else f"worker {received.peer}"
        ids: tuple[str, ...] = ()
        peer = detail = ""
        kind, size = type(item).__name__, 0
        match item:
            case SendToUser() | SendToGroup():
                ids, size = (item.message_id,), len(item.frame)
                peer = item.chat if item.author == user else item.author
                if len(self._sends) < _MAX_UNANSWERED:
                    self._sends[received.origin, item.request] = trace, item.message_id
            case Acked():
                ids, detail = tuple(item.message_ids), f"ack {item.level}"
                peer = item.author if item.acker == user else item.acker
            case AckedByMany():
                ids, detail = (item.message_id,), f"ack {item.level}"
                many = f"{len(item.ackers)} members"
                peer = item.author if user in item.ackers else many
            case Durable(_, content):
                kind = type(content).__name__
                if isinstance(content, Receipt | GroupCopy):
                    ids = (content.message_id,)
                if isinstance(content, Receipt):
                    detail = f"ack {content.level}"
                    peer = content.acker if content.author == user else content.author
                elif isinstance(content, GroupCopy):
                    size, peer = len(content.frame), content.author
            case StrayAck():
                ids, detail = (item.message_id,), f"ack {item.level}"
            case Ask():
                detail = item.extension
            case Ready() | Pause():
                detail = f"up to entry {item.cursor}"
            case Confirmed():
                detail = f"up to entry {item.seq}"
            case _:
                pass
        trace.add(
            "taken",
            at_us,
            kind=_KINDS.get(kind, kind),
            ids=ids,
            peer=peer,
            detail=" ".join(filter(None, (detail, f"from {source}"))),
            size=size,
        )

    # ---------------------------------------------------------------------------- what goes out

    def said(self, effects: Effects) -> None:
        """Note what goes out of traced users; all of it is committed."""
        try:
            self._say(effects)
        except Exception:
            self._fail()

    def _say(self, effects: Effects) -> None:
        at_us = clock.now_us()
        for front, items in effects.to_fronts.items():
            sessions = {
                reader.number: trace
                for user, trace in self.users.items()
                if (reader := self._readers.of_user(user)) is not None and reader.front == front
            }
            if sessions or self._sends:
                for item in items:
                    self._note_said(front, item, sessions, at_us)
        for peer, entries in effects.to_peers.items():
            for entry in entries:
                content = entry.content if isinstance(entry, Durable) else entry
                if isinstance(content, Receipt | GroupCopy | StrayAck):
                    self._note_passed(peer, content, at_us)

    def _note_said(
        self, front: Identity, item: ToFront, sessions: dict[int, Trace], at_us: int
    ) -> None:
        match item:
            case Stored() | Refused():
                sent = self._sends.pop((front, item.request), None)
                if sent is not None:
                    trace, message_id = sent
                    if isinstance(item, Stored):
                        trace.add("stored", at_us, ids=(message_id,))
                    else:
                        detail = f"with {item.code}: {item.reason}"
                        trace.add("refused", at_us, ids=(message_id,), detail=detail)
            case DeliverToMany():
                for number in sessions.keys() & item.sessions:
                    _note_sent(sessions[number], at_us, front, "delivery", item.frame)
            case Deliver():
                if item.session in sessions:
                    kind = "receipt" if item.receipt_for else "delivery"
                    _note_sent(
                        sessions[item.session], at_us, front, kind, item.frame, item.receipt_for
                    )
            case DeliverReceipts():
                if item.session in sessions:
                    ids = item.receipt_for * (len(item.frames) // len(item.receipt_for))
                    for message_id, frame in zip(ids, item.frames, strict=True):
                        trace = sessions[item.session]
                        _note_sent(trace, at_us, front, "receipt", frame, message_id)
            case Page():
                if item.session in sessions:
                    detail = f"{len(item.entries)} entries to {front.decode(errors='replace')}"
                    sessions[item.session].add("sent", at_us, kind="page", detail=detail)
            case _:
                if getattr(item, "session", None) in sessions:
                    kind = _KINDS.get(type(item).__name__, type(item).__name__)
                    _note_sent(sessions[item.session], at_us, front, kind)

    def _note_passed(self, peer: int, content: Receipt | GroupCopy | StrayAck, at_us: int) -> None:
        users = {content.author}
        if isinstance(content, GroupCopy):
            users |= self.users.keys() & content.members
        else:
            users.add(content.acker)
        for user in users & self.users.keys():
            self.users[user].add(
                "sent",
                at_us,
                kind=_KINDS[type(content).__name__],
                ids=(content.message_id,),
                detail=f"to worker {peer}",
            )


_KINDS: Final = {
    "SendToUser": "message",
    "SendToGroup": "group message",
    "Acked": "ack",
    "AckedByMany": "ack",
    "Receipt": "receipt",
    "GroupCopy": "group copy",
    "StrayAck": "stray ack",
    "OpenSession": "login",
    "CloseSession": "end of session",
    "Ready": "ready",
    "Pause": "pause",
    "Confirmed": "confirmed",
    "Ask": "request",
    "SessionOpened": "login is good",
    "SessionRefused": "login is refused",
    "EndSession": "replaced",
    "Tell": "answer",
    "Carry": "request",
}


def _note_sent(
    trace: Trace, at_us: int, front: Identity, kind: str, frame: bytes = b"", receipt_for: str = ""
) -> None:
    message_id = receipt_for or id_of(frame)
    ids = (message_id,) if message_id else ()
    detail = f"to {front.decode(errors='replace')}"
    trace.add("sent", at_us, kind=kind, ids=ids, detail=detail, size=len(frame))
