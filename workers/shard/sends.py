"""Messages that clients send: judged step by step, stored, answered, delivered (2.3, 2.5)."""

from __future__ import annotations

from typing import Literal, assert_never

from relay.bus.envelopes import Deliver, GroupCopy, Refused, SendToGroup, SendToUser, Stored
from relay.errors import MailboxFull, ShareFull
from relay.extensions.contract import Refuse, Send, Suppress
from workers.shard import messages
from workers.shard.effects import Identity
from workers.shard.groups import Groups
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.pipeline import Judge, Take, arrange
from workers.shard.plain import Plain
from workers.shard.readers import Readers
from workers.shard.turn import Turn
from workers.shard.waiting import Waiting
from workers.store.keys import message_key


class Sends:
    """Takes sends to users and to groups; each is answered once, in its own batch."""

    def __init__(
        self,
        turn: Turn,
        readers: Readers,
        mailboxes: Mailboxes,
        pages: Pages,
        peers: Peers,
        groups: Groups,
        halves: Halves,
        waiting: Waiting,
        plain: Plain,
    ) -> None:
        self._turn = turn
        self._reader_of = readers.of_user
        self._mailboxes = mailboxes
        self._takes_live = pages.takes_live
        self._peers = peers
        self._groups = groups
        self._on_stored = halves.stored
        self._halves = halves
        self._add_waiting = waiting.add
        self._waiting = waiting
        self._take_plain = plain.send
        steps_of_user = {
            "known": self._known_to_user,
            "quota": self._quotas,
            "store": self._store_for_user,
        }
        steps_of_group = {
            "known": self._known_to_group,
            "group": self._written_by_member,
            "store": self._store_for_group,
        }
        # Their names tell people; a send goes through what they do.
        self.steps_of_user = arrange(steps_of_user, halves.judges, self._take_of)
        self.steps_of_group = arrange(steps_of_group, halves.judges, self._take_of)
        self._of_user = tuple(step.take for step in self.steps_of_user)
        self._of_group = tuple(step.take for step in self.steps_of_group)

    def to_user(self, front: Identity, send: SendToUser) -> None:
        """Have the steps for a 1-1 message look at it, until one answers it."""
        chat = send.chat
        reader = self._reader_of(chat)
        if reader is None and not self._peers.owns(chat):
            self.refuse(front, send, 503, "the recipient is served elsewhere, send again")
            return
        key = message_key(send.message_id, send.author, chat, "")
        if reader is not None and self._take_plain(front, send, key, reader):
            return
        for take in self._of_user:
            if take(front, send, key):
                return

    def to_group(self, front: Identity, send: SendToGroup) -> None:
        """Have the steps for a group message look at it, until one answers it."""
        chat = send.chat
        if not self._peers.owns(chat):
            self.refuse(front, send, 503, "the group is served elsewhere, send again")
            return
        key = message_key(send.message_id, send.author, "", chat)
        for take in self._of_group:
            if take(front, send, key):
                return

    # ------------------------------------------------------------------------------- the steps

    def _known_to_user(self, front: Identity, send: Send, key: bytes) -> bool:
        record = self._turn.batch.get_message(key)
        if record is None:
            return False
        return self._repeat(front, send, messages.known_of(key, record, send.author))

    def _known_to_group(self, front: Identity, send: Send, key: bytes) -> bool:
        record = self._turn.batch.get_message(key)
        if record is None:
            return False
        return self._repeat(front, send, messages.known_of(key, record, send.author, send.chat))

    def _written_by_member(self, front: Identity, send: Send, key: bytes) -> bool:
        if send.chat not in self._groups:
            return self.refuse(front, send, 404, "unknown group")
        if not self._groups.has_member(send.chat, send.author):
            return self.refuse(front, send, 403, "not a member of the group")
        return False

    def _quotas(self, front: Identity, send: Send, key: bytes) -> bool:
        if send.author in self._waiting.much:
            refusal = self._waiting.refusal(send.author, len(send.frame))
            if refusal:
                self._turn.counters["sends_over_quota"] += 1
                return self.refuse(front, send, 507, refusal)
        reader = self._reader_of(send.chat)
        mailbox = reader.mailbox if reader is not None else self._mailboxes.of_absent(send.chat)
        turn = self._turn
        try:
            mailbox.check_room(turn.batch, send.author, len(send.frame), turn.room)
        except MailboxFull as error:
            if isinstance(error, ShareFull):
                turn.counters["author_shares_full"] += 1
            for overfull in self._halves.overfull:
                if type(send) is SendToUser:  # as all are that this step looks at
                    overfull(send.chat, send, error)
            return self.refuse(front, send, 507, str(error))
        return False

    def _store_for_user(self, front: Identity, send: Send, key: bytes) -> bool:
        turn, chat = self._turn, send.chat
        if turn.refusal:
            return self.refuse(front, send, 500, turn.refusal)
        reader = self._reader_of(chat)
        mailbox = reader.mailbox if reader is not None else self._mailboxes.of_absent(chat)
        seq = turn.next_seq()
        mailbox.add_message(turn.batch, seq, send.author, send.frame, turn.room)
        messages.add(turn.batch, key, seq=seq, time_s=send.time_s, digest=send.digest)
        self._add_waiting(send.author, len(send.frame))
        if mailbox.evicted:
            self._mailboxes.count_evicted(mailbox)
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        if reader is None:
            for queued in self._halves.queued:
                if type(send) is SendToUser:  # as all are that this step stores
                    queued(chat, send)
        elif self._takes_live(reader):
            reader.sent(seq)
            turn.to_fronts[reader.front].append(Deliver(reader.number, seq, "", send.frame))
        for stored in self._on_stored:
            stored(send)
        return True

    def _store_for_group(self, front: Identity, send: Send, key: bytes) -> bool:
        turn, chat = self._turn, send.chat
        if turn.refusal:
            return self.refuse(front, send, 500, turn.refusal)
        for worker, members in self._groups.by_worker(chat).items():
            others = [member for member in members if member != send.author]
            if others:
                copy = GroupCopy(
                    send.author, chat, send.message_id, send.time_s, others, send.frame
                )
                self._peers.pass_on(worker, copy)
        messages.add(turn.batch, key, seq=turn.next_seq(), time_s=send.time_s, digest=send.digest)
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        for stored in self._on_stored:
            stored(send)
        return True

    def _take_of(self, judge: Judge) -> Take:
        """Return the step that asks one of the extensions' judges."""

        def take(front: Identity, send: Send, key: bytes) -> bool:
            verdict = judge.ask(send)
            match verdict:
                case None:
                    return False
                case Refuse():
                    return self.refuse(front, send, verdict.code, verdict.reason)
                case Suppress():
                    return self._suppress(front, send, key)
                case _:
                    assert_never(verdict)

        return take

    # ----------------------------------------------------------------------------- the answers

    def refuse(self, front: Identity, send: Send, code: int, reason: str) -> Literal[True]:
        """Answer a send that is not stored."""
        self._turn.counters[f"sends_refused_{code}"] += 1
        self._turn.to_fronts[front].append(Refused(send.request, code, reason))
        return True

    def _repeat(self, front: Identity, send: Send, known: messages.Known) -> Literal[True]:
        """Answer a send whose id this author used before in this chat (R20)."""
        if known.digest != send.digest:
            return self.refuse(
                front, send, 409, "this id was used for another message in this chat"
            )
        self._turn.counters["sends_repeated"] += 1
        self._turn.to_fronts[front].append(Stored(send.request, known.time_s))
        return True

    def _suppress(self, front: Identity, send: Send, key: bytes) -> Literal[True]:
        """Have the author see what it sees of every message that nobody has acked."""
        turn = self._turn
        if turn.refusal:
            return self.refuse(front, send, 500, turn.refusal)
        messages.add_unsent(
            turn.batch, key, seq=turn.next_seq(), time_s=send.time_s, digest=send.digest
        )
        turn.counters["sends_suppressed"] += 1
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        return True
