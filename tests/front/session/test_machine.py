"""A session against a small model of a worker, over links on which everything takes its time."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    Acked,
    CloseSession,
    Confirmed,
    Deliver,
    Entry,
    OpenSession,
    Page,
    Pause,
    Ready,
    SendToUser,
    SessionOpened,
    Stored,
    ToFront,
    ToWorker,
)
from relay.front.budget import UNITS
from relay.front.links import WorkDone
from relay.front.session import Session
from relay.protocol import frames
from relay.protocol.codec import Codec
from tests import plain
from tests.front.session.harness import (
    ALICE,
    BOB,
    CAROL,
    NOW_MS,
    NUMBER,
    action,
    auth,
    in_q,
    live,
    message,
    page,
    settings_with,
)


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
        self.acked: list[str] = []  # ids, in the order in which it heard of them

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
            case Acked():
                self.acked += envelope.message_ids
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
        # What is to be confirmed when all before it was handled stands among the rest.
        self.to_worker: deque[ToWorker | WorkDone] = deque()
        self.to_front: deque[ToFront | WorkDone] = deque()
        self.unconfirmed: list[ToWorker] = []  # repeated to the worker's next incarnation
        self.answers: dict[str, deque[ToFront]] = {BOB: deque(), CAROL: deque()}
        self.holds: int = 0
        self.is_blocked = False
        self.logins_held = 0
        self.asked: str | None = None  # a Ready or Pause that no page has followed yet
        self.seq = 0
        self.sends: list[str] = []
        self.asked_to_store: list[str] = []  # those of them that went to a worker
        self.said: list[str] = []  # ids that the client has acked
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
        for _, content, durable in out.envelopes or ():
            self._request(content, durable=durable)
        out.envelopes = None
        if out.told:
            self.to_worker.append(WorkDone(NUMBER, out.told))
            out.told = 0
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
                self.asked_to_store.append(envelope.message_id)
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
        assert durable == isinstance(envelope, Confirmed | Acked)
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
    @precondition(lambda self: self.asked_to_store)
    def a_receipt_comes(self, which: int) -> None:
        """Also for a send that is stored but whose answer is still on its way."""
        self.seq += 1
        message_id = self.asked_to_store[-1 - which % len(self.asked_to_store)]
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

    @rule(count=st.sampled_from([1, 1, 3, UNITS // 2, UNITS + 1, 5 * UNITS]))
    @precondition(lambda self: self.session.login.user and not self.holds)
    def ack(self, count: int) -> None:
        ids = [f"a{len(self.said) + number}" for number in range(count)]
        self.said += ids
        self._say(["Msg", {"id": ids, "ack": 2, "to": ALICE, "from": BOB}])

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
            if isinstance(envelope, WorkDone):
                self._carry()
                self.to_front.append(envelope)
                continue
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
                deliveries.confirmed(deliveries.written)
                self._take()

    def _restart(self) -> None:
        # A link keeps who is to be told, behind what it repeats.
        untold = [each for each in (*self.to_front, *self.to_worker) if isinstance(each, WorkDone)]
        self.to_worker.clear()
        self.to_front.clear()
        acked = self.worker.acked
        self.worker = ModelWorker(self.mailbox)
        self.worker.acked = acked  # which is stored
        repeated, self.unconfirmed = self.unconfirmed, []
        self.session.announce()
        self._take()
        self.to_worker.extend(repeated)
        self.to_worker.extend(untold)
        self.unconfirmed += repeated

    def _carry(self) -> None:
        self.to_front.extend(self.worker.sent)
        self.worker.sent = []

    def _deliver(self, envelope: ToFront | WorkDone) -> None:
        match envelope:
            case WorkDone():
                self.session.work_done(envelope.units, now_ms=NOW_MS)
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
    def acks_reach_the_worker_in_their_order_and_few_at_a_time(self) -> None:
        assert self.worker.acked == self.said[: len(self.worker.acked)]
        waiting = [each for each in self.to_worker if isinstance(each, Acked)]
        # Up to half a budget more is not counted yet, or was told and is not confirmed.
        assert sum(len(each.message_ids) for each in waiting) <= 2 * UNITS

    @invariant()
    def a_ping_now_would_cover_nothing_that_was_not_written(self) -> None:
        written = self.session.deliveries.written
        covered = {entry.seq for entry in self.mailbox if entry.seq <= written}
        assert covered <= self.ever | set(self.messages)

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
        assert self.worker.acked == self.said
        assert {e.seq for e in self.mailbox if e.receipt_for} <= self.receipts


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = hypothesis_settings(
    max_examples=100, stateful_step_count=40, deadline=None
)
