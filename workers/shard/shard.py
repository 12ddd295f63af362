"""A worker's decisions: one envelope and the time in, changes of the batch and effects out.

Nothing here touches a socket or a clock. The caller opens a batch, feeds it every envelope that has
come, commits, and only then sends the effects. What is in memory (sessions and their totals) can be
rebuilt from the store and from the fronts' announcements.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import assert_never

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    Acked,
    Applied,
    CloseSession,
    Confirmed,
    Deliver,
    Durable,
    EndSession,
    GroupCopy,
    OpenSession,
    Page,
    Pause,
    Ready,
    Receipt,
    Refused,
    SendToGroup,
    SendToUser,
    SessionOpened,
    SessionRefused,
    Stored,
    StrayAck,
    ToFront,
    ToWorker,
)
from relay.disk.groupfile import Group
from relay.errors import MailboxFull
from relay.protocol.slots import slot_of
from relay.protocol.times import receipt_time
from relay.settings.tables import Settings
from workers.shard import messages
from workers.shard.effects import Effects, Identity
from workers.shard.mailbox import Mailbox, receipt_frame
from workers.shard.outbox import Outbox
from workers.shard.readers import Session, Sessions, State
from workers.store.batch import Batch
from workers.store.keys import LAST_SEQ, message_key, message_prefix

# A sweep is bounded, so that it does not hold up the traffic between two of them.
MAX_SWEPT_ENTRIES = 500
# Counted in messages, so that under light load, when each is a batch of its own, as many are
# forgotten as come. At one sweep a second this is more than a store can take for a week.
MAX_FORGOTTEN = 5000
MAX_ENDED = 250  # sessions of a front that died; the mailbox of each is counted and saved
MAX_STRAYS = 1000  # acks that match nothing, of one batch for one peer
MAX_PAGE_ENTRIES = 2000  # bounds the envelopes of a page of tiny frames

_LIVE = State.LIVE  # looked at for every message


class Shard:
    """The state of one slot range and everything that may happen to it.

    Call `begin`, then `handle` and the other events, then `end`; then commit the batch and carry
    out the effects. If the commit fails the shard is no longer true to the store: drop it.
    """

    def __init__(self, index: int, workers: list[range], settings: Settings) -> None:
        """Own the slots `workers[index]` of a relay whose workers own those ranges."""
        self.index = index
        self.sessions = Sessions()
        self._session_of = self.sessions.of_user
        self.counters: Counter[str] = Counter()
        self.refusal = ""  # why no send can be stored, while that is so
        self._slots = workers[index]
        self._owner_of_slot = [
            worker for worker, slots in enumerate(workers) for _ in range(len(slots))
        ]
        self._settings = settings
        self._limits = settings.mailbox
        self._groups: Mapping[str, Group] = {}
        self._member_sets: dict[str, frozenset[str]] = {}
        self._outboxes = {
            peer: Outbox(peer, max_bytes=settings.flow.link_bytes)
            for peer in range(len(workers))
            if peer != index
        }
        self._full_fronts: set[Identity] = set()
        self._lost_fronts: set[Identity] = set()  # that still have sessions
        self._seq = 0
        self._stored_seq = 0
        self._now_ms = self._now_s = self._now_us = 0
        self._batch: Batch
        self._effects: Effects
        self._to_fronts: dict[Identity, list[ToFront]]
        self._paged: Counter[Identity] = Counter()  # bytes of this batch's pages
        self._absent: dict[str, Mailbox] = {}  # mailboxes without a session, for this batch
        self._applied: dict[int, int] = {}
        self._newly_applied: set[int] = set()

    def adopt(self, settings: Settings) -> None:
        """Go by other settings from the next batch on; what is over a new limit goes as it may.

        A mailbox is judged when something is added, an entry's age when it is swept.
        """
        self._settings = settings
        self._limits = settings.mailbox

    # ------------------------------------------------------------------------------- the batch

    def begin(self, batch: Batch, *, now_ms: int) -> None:
        """Start deciding within `batch`; `now_ms` holds for all of it."""
        if self._seq == 0:
            self._seq = self._stored_seq = batch.last_seq()
            self._applied = {peer: batch.applied(peer) for peer in self._outboxes}
        self._batch = batch
        self._effects = Effects()
        self._to_fronts = self._effects.to_fronts
        self._paged.clear()
        self._now_ms = now_ms
        self._now_s = now_ms // 1000
        self._now_us = now_ms * 1000

    def end(self) -> Effects:
        """Write what the batch left to write and return what it has to say."""
        for peer, outbox in self._outboxes.items():
            if outbox.has_more:
                outbox.send_more(self._batch, self._effects.to_peers[peer].append)
        for mailbox in self._absent.values():
            mailbox.save(self._batch)
        self._absent.clear()
        for peer in self._newly_applied:
            self._batch.put_applied(peer, self._applied[peer])
        self._newly_applied.clear()
        if self._seq != self._stored_seq:
            self._batch.put_last_seq(self._seq)
            self._stored_seq = self._seq
        return self._effects

    def handle(self, origin: Identity, envelope: ToWorker) -> None:
        """Decide on one envelope from the front or peer known on the bus as `origin`."""
        if type(envelope) is SendToUser:
            self._send_to_user(origin, envelope)
            return
        if type(envelope) is Acked:
            self._acked(envelope)
            return
        match envelope:
            case Confirmed():
                self._confirmed(origin, envelope)
            case SendToGroup():
                self._send_to_group(origin, envelope)
            case Durable():
                raise AssertionError("a peer's entries come through `apply`")
            case Ready():
                self._ready(origin, envelope)
            case OpenSession():
                self._open_session(origin, envelope)
            case CloseSession():
                session = self.sessions.at(origin, envelope.session)
                if session is not None:
                    session.wrote(envelope.cursor)
                    self._close(session)
            case Pause():
                session = self.sessions.at(origin, envelope.session)
                if session is not None:
                    session.pause(envelope.cursor)
            case StrayAck():
                self._pass_stray(envelope)
            case _:
                assert_never(envelope)

    def refuse_stale(self, front: Identity, stanza: ToWorker) -> None:
        """Answer what was meant for an earlier incarnation: nothing of it is done (I8)."""
        self._refuse_stanza(front, stanza, 503, "the worker was renewed, send again")

    def set_aside(self, origin: Identity, peer: int | None, stanza: ToWorker) -> None:
        """Answer a stanza that is not to be tried any more, because the worker failed at it."""
        self.counters["stanzas_set_aside"] += 1
        if isinstance(stanza, Durable):
            assert peer is not None, "only workers have an outbox"
            self._confirm_entry(origin, peer, stanza.seq)
            return
        reason = "the relay has failed at this more than once and has set it aside"
        self._refuse_stanza(origin, stanza, 500, reason)

    def _refuse_stanza(self, front: Identity, stanza: ToWorker, code: int, reason: str) -> None:
        match stanza:
            case SendToUser() | SendToGroup():
                self._refuse(front, stanza.request, code, reason)
            case OpenSession():
                retry_after_s = 1 if code == 503 else 0
                self._to_fronts[front].append(
                    SessionRefused(stanza.session, code, reason, retry_after_s)
                )
            case _:
                pass  # nobody waits for an answer

    def _next_seq(self) -> int:
        # The clock makes the numbers comparable between workers and tells an entry's age; the
        # last one makes them grow even where the clock goes back.
        seq = self._seq + 1
        if seq < self._now_us:
            seq = self._now_us
        self._seq = seq
        return seq

    # ------------------------------------------------------------------------------- sessions

    def _open_session(self, front: Identity, request: OpenSession) -> None:
        if not self._owns(request.user):
            self._to_fronts[front].append(
                SessionRefused(
                    request.session, 503, "the user is served elsewhere, log in again", 1
                )
            )
            return
        present = self.sessions.of_user(request.user)
        if present is not None and present.front in self._lost_fronts:
            # Its turn to end had not come, but its user is away: nothing is taken over.
            self._close(present)
            present = None
        if present is None:
            if request.phase == LOGIN:
                # Until now the user was away, and it must look like that: one receipt an acker.
                self._mailbox_of_absent(request.user)
            mailbox = self._absent.pop(request.user, None)
            if mailbox is None:
                mailbox = Mailbox.load(self._batch, request.user)
            if mailbox.is_counted:
                # While a session is there only memory knows them; a crash has them counted anew.
                self._batch.delete_totals(mailbox.box)
            session = Session(front, request.session, request.user, mailbox)
            self.sessions.add(session)
        elif (present.front, present.number) == (front, request.session):
            session = present
        elif request.phase != LOGIN and (
            not present.is_announced or request.asked_ms < present.asked_ms
        ):
            # A login to this incarnation is newer than every session that is announced to it. Two
            # are announced where the older one's front has not heard of the takeover.
            self._to_fronts[front].append(EndSession(request.session))
            return
        else:
            if request.phase == LOGIN and not self._may_take_over(front, request, present):
                return
            self._to_fronts[present.front].append(EndSession(present.number))
            self.sessions.discard(present)
            present.mailbox.transmitted = present.mailbox.written
            session = Session(front, request.session, request.user, present.mailbox)
            session.takeovers = present.takeovers
            self.sessions.add(session)
        session.forget_receipts()
        session.is_announced = request.phase != LOGIN
        session.asked_ms = request.asked_ms
        if session.is_announced:
            # What it had from an earlier incarnation still waits for a pong, and may be evicted.
            session.sent_before = request.cursor
            if request.phase == LIVE:  # a `q` is written when it is packed
                session.wrote(request.cursor)
            session.sent(request.cursor)
        else:
            self._to_fronts[front].append(SessionOpened(request.session))
        session.cursor = request.cursor
        session.pages = 0
        session.barrier = 0 if request.phase == LIVE else max(self._seq, 1)
        self._send_page(session)

    def _may_take_over(self, front: Identity, request: OpenSession, present: Session) -> bool:
        """Note a takeover, or refuse it where the user's clients throw each other out (2.2.8)."""
        window_ms = int(self._settings.auth.takeover_window_s * 1000)
        taken = present.takeovers
        while taken and taken[0] <= self._now_ms - window_ms:
            del taken[0]
        if len(taken) >= self._settings.auth.max_takeovers:
            wait_s = max(1, -(-(taken[0] + window_ms - self._now_ms) // 1000))
            reason = f"more than {self._settings.auth.max_takeovers} takeovers of this session"
            self._to_fronts[front].append(SessionRefused(request.session, 429, reason, wait_s))
            self.counters["takeovers_refused"] += 1
            return False
        taken.append(self._now_ms)
        return True

    def _close(self, session: Session) -> None:
        self.sessions.discard(session)
        session.mailbox.transmitted = session.mailbox.written
        session.mailbox.make_receipts_findable(self._batch)
        self._absent[session.user] = session.mailbox

    def _ready(self, front: Identity, ready: Ready) -> None:
        session = self.sessions.at(front, ready.session)
        if session is None:
            return
        if ready.pages == session.pages:
            if not session.barrier:  # a `q` is written when it is packed
                session.wrote(ready.cursor)
            session.rewind(ready.cursor)
        elif session.state is State.READING:
            return  # a page crossed with it that asks for a `Ready` too
        self._send_page(session, answer=True)

    def _send_page(self, session: Session, *, answer: bool = False) -> None:
        """Send the next page, as `q` up to the barrier; at the end the session goes live.

        Without entries a page is sent only where `answer` says that the front waits for one.
        """
        in_queue = session.barrier > 0
        if session.front in self._full_fronts:
            session.state = State.STARVED
            return
        entries, ends = session.mailbox.stretch(
            self._batch,
            after=session.cursor,
            up_to=session.barrier if in_queue else LAST_SEQ,
            max_bytes=self._settings.flow.page_bytes,
            max_entries=MAX_PAGE_ENTRIES,
        )
        if entries:
            session.sent(entries[-1].seq)
            for entry in entries:
                if entry.receipt_for:
                    session.add_receipt(entry.seq)
        more = not ends
        if in_queue and ends:
            behind = session.mailbox.stretch(
                self._batch, after=session.barrier, up_to=LAST_SEQ, max_bytes=0, max_entries=1
            )
            more = bool(behind.entries)
            session.barrier = 0
        if entries and not in_queue and not answer:
            # Nobody asked for it, so it may cross a `Ready` of a reader that was slow, before which
            # the front drops what comes: only a page that has it ask again hides no gap.
            more = True
        session.state = State.READING if more else State.LIVE
        if entries or in_queue or answer:
            session.pages += 1
            self._to_fronts[session.front].append(
                Page(session.number, entries, in_queue, in_queue and ends, more)
            )
            self._paged[session.front] += sum(len(entry.frame) for entry in entries)
            if self._paged[session.front] >= self._settings.flow.link_bytes:
                # As soon as this batch is sent the link is full; many pages must not exceed it by
                # more than one.
                self.front_full(session.front)

    def _confirmed(self, front: Identity, confirmed: Confirmed) -> None:
        session = self.sessions.at(front, confirmed.session)
        if session is None:
            return
        session.wrote(confirmed.seq)
        if session.sent_before:
            session.recall_receipts(
                session.mailbox.receipts_up_to(self._batch, session.sent_before)
            )
        for seq in session.confirm_receipts(confirmed.seq):
            session.mailbox.remove(self._batch, seq)

    def front_lost(self, front: Identity) -> bool:
        """End sessions of a front that died; what they did not ack stays queued.

        Return whether that was all of them: call it in the next batch too while it was not.
        """
        self._full_fronts.discard(front)
        sessions = self.sessions.through(front)
        for session in sessions[:MAX_ENDED]:
            self._close(session)
        if len(sessions) > MAX_ENDED:
            self._lost_fronts.add(front)
            return False
        self._lost_fronts.discard(front)
        return True

    def front_full(self, front: Identity) -> None:
        """Stop sending entries to a front that is behind; they stay in the mailboxes."""
        self._full_fronts.add(front)

    def front_has_room(self, front: Identity) -> None:
        """Go on with the sessions of a front that was behind."""
        if front not in self._full_fronts:
            return
        self._full_fronts.discard(front)
        for session in self.sessions.through(front):
            if session.state is not State.STARVED:
                continue
            if session.barrier:
                self._send_page(session, answer=True)
            else:
                self._have_it_ask(session)

    # ------------------------------------------------------------------------------- messages

    def _send_to_user(self, front: Identity, send: SendToUser) -> None:
        chat = send.chat
        session = self._session_of(chat)
        if session is None and not self._owns(chat):
            self._refuse(front, send.request, 503, "the recipient is served elsewhere, send again")
            return
        key = message_key(send.message_id, send.author, chat, "")
        known = messages.read(self._batch, key, send.author)
        if known is not None:
            self._repeat(front, send, known)
            return
        mailbox = session.mailbox if session is not None else self._mailbox_of_absent(chat)
        try:
            if self.refusal:
                mailbox.check_room(self._batch, len(send.frame), self._limits)
                self._refuse(front, send.request, 500, self.refusal)
                return
            seq = self._next_seq()
            mailbox.add_message(self._batch, seq, send.frame, self._limits)
        except MailboxFull as error:
            self._refuse(front, send.request, 507, str(error))
            return
        messages.add(self._batch, key, seq=seq, time_s=send.time_s, digest=send.digest)
        if mailbox.evicted:
            self._count_evicted(mailbox)
        self._to_fronts[front].append(Stored(send.request, send.time_s))
        if session is not None and self._takes_live(session):
            session.sent(seq)
            self._to_fronts[session.front].append(Deliver(session.number, seq, "", send.frame))

    def _send_to_group(self, front: Identity, send: SendToGroup) -> None:
        if not self._owns(send.chat):
            self._refuse(front, send.request, 503, "the group is served elsewhere, send again")
            return
        key = message_key(send.message_id, send.author, "", send.chat)
        known = messages.read(self._batch, key, send.author, send.chat)
        if known is not None:
            self._repeat(front, send, known)
            return
        group = self._groups.get(send.chat)
        if group is None:
            self._refuse(front, send.request, 404, "unknown group")
            return
        if send.author not in self._member_sets[send.chat]:
            self._refuse(front, send.request, 403, "not a member of the group")
            return
        if self.refusal:
            self._refuse(front, send.request, 500, self.refusal)
            return
        by_worker: dict[int, list[str]] = {}
        for member in group.participants:
            if member != send.author:
                by_worker.setdefault(self._owner_of(member), []).append(member)
        for worker, members in by_worker.items():
            copy = GroupCopy(
                send.author, send.chat, send.message_id, send.time_s, members, send.frame
            )
            self._pass_on(worker, copy)
        messages.add(self._batch, key, seq=self._next_seq(), time_s=send.time_s, digest=send.digest)
        self._to_fronts[front].append(Stored(send.request, send.time_s))

    def _repeat(
        self, front: Identity, send: SendToUser | SendToGroup, known: messages.Message
    ) -> None:
        """Answer a send whose id this author used before in this chat (R20)."""
        if known.digest == send.digest:
            self.counters["sends_repeated"] += 1
            self._to_fronts[front].append(Stored(send.request, known.time_s))
        else:
            self._refuse(
                front, send.request, 409, "this id was used for another message in this chat"
            )

    def _refuse(self, front: Identity, request: int, code: int, reason: str) -> None:
        self.counters[f"sends_refused_{code}"] += 1
        self._to_fronts[front].append(Refused(request, code, reason))

    def _apply_copy(self, copy: GroupCopy) -> None:
        """Queue a group message for the members that are served here, its body stored once."""
        seq = self._next_seq()
        holders = 0
        for member in copy.members:
            key = message_key(copy.message_id, copy.author, member, copy.group)
            if self._batch.get_message(key) is not None:
                continue
            session = self._session_of(member)
            mailbox = session.mailbox if session is not None else self._mailbox_of_absent(member)
            try:
                mailbox.add_group_message(self._batch, seq, len(copy.frame), self._limits)
            except MailboxFull:
                self.counters["group_copies_skipped"] += 1
                continue
            if mailbox.evicted:
                self._count_evicted(mailbox)
            holders += 1
            messages.add(self._batch, key, seq=seq, time_s=copy.time_s)
            if session is not None and self._takes_live(session):
                session.sent(seq)
                self._effects.deliver_shared(session.front, session.number, seq, copy.frame)
        if holders:
            self._batch.put_body(seq, copy.frame, holders)

    def _takes_live(self, session: Session) -> bool:
        if session.state is not _LIVE:
            return False
        if self._full_fronts and session.front in self._full_fronts:
            # Going on from here later would be wrong: if its reader became slow, the front has
            # dropped the last that was sent live.
            self._have_it_ask(session)
            return False
        return True

    def _have_it_ask(self, session: Session) -> None:
        """Send an empty page, at which the front asks for what waits."""
        session.state = State.READING
        session.pages += 1
        self._to_fronts[session.front].append(
            Page(session.number, [], queue=False, last=False, more=True)
        )

    def _count_evicted(self, mailbox: Mailbox) -> None:
        self.counters["entries_evicted"] += mailbox.evicted
        mailbox.evicted = 0

    def _mailbox_of_absent(self, user: str) -> Mailbox:
        mailbox = self._absent.get(user)
        if mailbox is None:
            mailbox = self._absent[user] = Mailbox.load(self._batch, user)
            if not mailbox.is_counted:
                # Its last session ended with its worker, which did not do it.
                mailbox.make_receipts_findable(self._batch)
        return mailbox

    # ------------------------------------------------------------------------------- receipts

    def _acked(self, acked: Acked) -> None:
        session = self._session_of(acked.acker)
        if session is None and not self._owns(acked.acker):
            self.counters["acks_misrouted"] += 1
            return
        for message_id in acked.message_ids:
            message = self._acked_message(acked, message_id)
            if message is None:
                self._stray(acked, message_id)
            elif acked.level > message.level:
                mailbox = session.mailbox if session else self._mailbox_of_absent(acked.acker)
                self._raise_level(acked, message_id, message, mailbox)

    def _acked_message(self, acked: Acked, message_id: str) -> messages.Message | None:
        """Return the delivery that an ack means (R13, 2.4.1)."""
        batch, acker = self._batch, acked.acker
        if acked.chat_is_group:
            return messages.find(batch, message_id, acked.author, acker, acked.chat)
        if acked.author_is_group:
            return messages.find(batch, message_id, acked.chat, acker, acked.author)
        return (
            messages.find(batch, message_id, acked.author, acker)
            or messages.find(batch, message_id, acked.chat, acker)
            or messages.find_only_author(batch, message_id, acker)
        )

    def _raise_level(
        self, acked: Acked, message_id: str, message: messages.Message, mailbox: Mailbox
    ) -> None:
        messages.raise_level(self._batch, message, acked.level)
        mailbox.remove(self._batch, message.seq)
        receipt = Receipt(
            message.author,
            message.group,
            message_id,
            acked.acker,
            acked.level,
            receipt_time(
                None if acked.time_s < 0 else acked.time_s,
                message_s=message.time_s,
                now_s=self._now_s,
            ),
        )
        author = self._session_of(message.author)
        if author is not None:  # so it is served here
            self._add_receipt(receipt, author, author.mailbox)
        else:
            self._pass_on(self._owner_of(message.author), receipt)

    def _apply_receipt(self, receipt: Receipt) -> None:
        session = self._session_of(receipt.author)
        mailbox = session.mailbox if session else self._mailbox_of_absent(receipt.author)
        self._add_receipt(receipt, session, mailbox)

    def _add_receipt(self, receipt: Receipt, session: Session | None, mailbox: Mailbox) -> None:
        seq = self._next_seq()
        added = mailbox.add_receipt(
            self._batch, seq, receipt, self._limits, author_is_absent=session is None
        )
        if mailbox.evicted:
            self._count_evicted(mailbox)
        if not added:
            self.counters["receipts_dropped"] += 1
            return
        if session is not None and self._takes_live(session):
            session.sent(seq)
            session.add_receipt(seq)
            self._to_fronts[session.front].append(
                Deliver(session.number, seq, receipt.message_id, receipt_frame(receipt))
            )

    def _stray(self, acked: Acked, message_id: str) -> None:
        """Send an ack that matches no delivery past every worker, the author's last (R19)."""
        if acked.author_is_group:
            author, group = acked.chat, acked.author
        else:
            author, group = acked.author, acked.chat if acked.chat_is_group else ""
        last = self._owner_of(author)
        route = [self.index, *(peer for peer in self._outboxes if peer != last)]
        if last != self.index:
            route.append(last)
        elif len(route) > 1:
            route = [*route[1:], self.index]
        self._pass_stray(
            StrayAck(
                route,
                author,
                group,
                message_id,
                acked.acker,
                acked.level,
                receipt_time(
                    None if acked.time_s < 0 else acked.time_s,
                    message_s=0,
                    now_s=self._now_s,
                ),
            )
        )

    def _pass_stray(self, stray: StrayAck) -> None:
        if not self._settings.acks.relay_unknown_acks:
            self.counters["stray_acks_dropped"] += 1
            return
        if stray.route[0] == self.index:
            if not self._lets_pass(stray):
                self.counters["stray_acks_dropped"] += 1
                return
            route = stray.route[1:]
            if not route:
                self._deliver_stray(stray)
                return
            if len(self._effects.to_peers[route[0]]) >= MAX_STRAYS:
                self.counters["stray_acks_dropped"] += 1  # best effort, and no credit bounds it
                return
            stray = StrayAck(
                route,
                stray.author,
                stray.group,
                stray.message_id,
                stray.acker,
                stray.level,
                stray.time_s,
            )
        self._effects.to_peers[stray.route[0]].append(stray)

    def _lets_pass(self, stray: StrayAck) -> bool:
        """Tell whether nothing known here speaks against the ack (R19 a and b)."""
        if self._batch.knows_message(message_prefix(stray.message_id, stray.author)):
            return False
        if stray.group and self._owns(stray.group):
            members = self._member_sets.get(stray.group, frozenset())
            return stray.author in members and stray.acker in members
        return True

    def _deliver_stray(self, stray: StrayAck) -> None:
        session = self.sessions.of_user(stray.author)
        if session is None or not self._takes_live(session):
            self.counters["stray_acks_dropped"] += 1
            return
        receipt = Receipt(
            stray.author, stray.group, stray.message_id, stray.acker, stray.level, stray.time_s
        )
        self._to_fronts[session.front].append(
            Deliver(session.number, 0, stray.message_id, receipt_frame(receipt))
        )

    # ---------------------------------------------------------------------------------- peers

    def _pass_on(self, worker: int, content: GroupCopy | Receipt) -> None:
        """Hand a durable change to the worker that owns it: here at once, else by the outbox."""
        if worker == self.index:
            self._apply(content)
        else:
            self._outboxes[worker].put(
                self._batch, self._next_seq(), content, self._effects.to_peers[worker].append
            )

    def _apply(self, content: GroupCopy | Receipt) -> None:
        match content:
            case GroupCopy():
                self._apply_copy(content)
            case Receipt():
                self._apply_receipt(content)
            case _:
                assert_never(content)

    def apply(self, origin: Identity, peer: int, entry: Durable) -> None:
        """Store an entry of a peer's outbox, once however often it comes, and say so."""
        if entry.seq > self._applied[peer]:
            self._apply(entry.content)
        self._confirm_entry(origin, peer, entry.seq)

    def _confirm_entry(self, origin: Identity, peer: int, seq: int) -> None:
        if seq > self._applied[peer]:
            self._applied[peer] = seq
            self._newly_applied.add(peer)
        self._effects.applied[origin] = Applied(self._applied[peer])

    def take_over(self, content: GroupCopy | Receipt) -> None:
        """Store what waited in an outbox when the relay was laid out anew; all of it is for here.

        Once only: nothing recognises a repeat.
        """
        self._apply(content)

    def applied(self, peer: int, applied: Applied) -> None:
        """Remove from the outbox what a peer has stored."""
        self._outboxes[peer].confirm(self._batch, applied.seq)

    def peer_connected(self, peer: int) -> None:
        """Send a peer's new incarnation everything that it has not confirmed."""
        self._outboxes[peer].connected()

    def peer_lost(self, peer: int) -> None:
        """Keep what is for a peer until it is back."""
        self._outboxes[peer].disconnected()

    # --------------------------------------------------------------------------------- groups

    def provision(self, groups: Mapping[str, Group]) -> None:
        """Replace the provisioned groups; those of other workers are left out."""
        self._groups = {local: group for local, group in groups.items() if self._owns(local)}
        self._member_sets = {
            local: frozenset(group.participants) for local, group in self._groups.items()
        }

    # ------------------------------------------------------------------------------ ownership

    def _owns(self, local: str) -> bool:
        return slot_of(local) in self._slots

    def _owner_of(self, local: str) -> int:
        return self._owner_of_slot[slot_of(local)]

    # --------------------------------------------------------------------------------- expiry

    def sweep(self, after: bytes, *, max_boxes: int) -> bytes:
        """Remove what is past its time: a stretch of mailboxes, and some of the known messages.

        Return where the next sweep must go on, empty when it came round.
        """
        now = self._now_ms * 1000
        oldest_entry = now - int(self._limits.ttl_days * 86_400_000_000)
        oldest_message = now - int(self._settings.dedupe.retention_days * 86_400_000_000)
        forgotten = self._batch.expire_messages(oldest_message, at_least=MAX_FORGOTTEN)
        if forgotten:
            self.counters["messages_forgotten"] += forgotten
        for _ in range(max_boxes):
            found = self._batch.next_box(after)
            if found is None:
                return b""
            box, oldest = found
            if oldest < oldest_entry:
                user = box[2:].split(b"\0", 1)[0].decode()
                session = self.sessions.of_user(user)
                mailbox = session.mailbox if session else self._mailbox_of_absent(user)
                expired = mailbox.expire(self._batch, oldest_entry, MAX_SWEPT_ENTRIES)
                self.counters["entries_expired"] += expired
                if expired == MAX_SWEPT_ENTRIES:
                    return after
            after = box + b"\xff"
        return after
