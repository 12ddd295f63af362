"""Messages that clients send: judged step by step, stored, answered, delivered (2.3, 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from relay.bus.envelopes import Deliver, GroupCopy, Refused, SendToGroup, SendToUser, Stored
from relay.errors import MailboxFull
from relay.extensions.contract import Refuse, Send, Suppress
from workers.shard import messages
from workers.shard.effects import Identity
from workers.shard.groups import Groups
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.pipeline import OF_GROUP, OF_USER, Judge, arrange
from workers.shard.readers import Readers
from workers.shard.turn import Turn
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
    ) -> None:
        self._turn = turn
        self._reader_of = readers.of_user
        self._mailboxes = mailboxes
        self._takes_live = pages.takes_live
        self._peers = peers
        self._groups = groups
        self._on_stored = halves.stored
        self._is_judged = bool(halves.judges)
        self._before_of_user = arrange(halves.judges, OF_USER)
        self._before_of_group = arrange(halves.judges, OF_GROUP)

    def to_user(self, front: Identity, send: SendToUser) -> None:
        """Decide on a 1-1 message: is it known, is there room for it in the mailbox, store it."""
        turn, chat = self._turn, send.chat
        reader = self._reader_of(chat)
        if reader is None and not self._peers.owns(chat):
            self.refuse(front, send, 503, "the recipient is served elsewhere, send again")
            return
        judged, before = self._is_judged, self._before_of_user
        key = message_key(send.message_id, send.author, chat, "")
        if judged and self._stops(before["known"], front, send, key):
            return
        known = messages.read(turn.batch, key, send.author)
        if known is not None:
            self._repeat(front, send, known)
            return
        if judged and self._stops(before["quota"], front, send, key):
            return
        mailbox = reader.mailbox if reader is not None else self._mailboxes.of_absent(chat)
        try:
            if judged or turn.refusal:  # else it is asked when it is stored
                mailbox.check_room(turn.batch, len(send.frame), turn.limits)
                if self._stops(before["store"], front, send, key):
                    return
                if turn.refusal:
                    self.refuse(front, send, 500, turn.refusal)
                    return
            seq = turn.next_seq()
            mailbox.add_message(turn.batch, seq, send.frame, turn.limits)
        except MailboxFull as error:
            self.refuse(front, send, 507, str(error))
            return
        messages.add(turn.batch, key, seq=seq, time_s=send.time_s, digest=send.digest)
        if mailbox.evicted:
            self._mailboxes.count_evicted(mailbox)
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        if reader is not None and self._takes_live(reader):
            reader.sent(seq)
            turn.to_fronts[reader.front].append(Deliver(reader.number, seq, "", send.frame))
        for stored in self._on_stored:
            stored(send)

    def to_group(self, front: Identity, send: SendToGroup) -> None:
        """Decide on a group message: is it known, may its author write there, store it."""
        turn, chat = self._turn, send.chat
        if not self._peers.owns(chat):
            self.refuse(front, send, 503, "the group is served elsewhere, send again")
            return
        before = self._before_of_group
        key = message_key(send.message_id, send.author, "", chat)
        if self._stops(before["known"], front, send, key):
            return
        known = messages.read(turn.batch, key, send.author, chat)
        if known is not None:
            self._repeat(front, send, known)
            return
        if self._stops(before["group"], front, send, key):
            return
        if chat not in self._groups:
            self.refuse(front, send, 404, "unknown group")
            return
        if not self._groups.has_member(chat, send.author):
            self.refuse(front, send, 403, "not a member of the group")
            return
        if self._stops(before["store"], front, send, key):
            return
        if turn.refusal:
            self.refuse(front, send, 500, turn.refusal)
            return
        by_worker: dict[int, list[str]] = {}
        for member in self._groups.members(chat):
            if member != send.author:
                by_worker.setdefault(self._peers.owner_of(member), []).append(member)
        for worker, members in by_worker.items():
            copy = GroupCopy(send.author, chat, send.message_id, send.time_s, members, send.frame)
            self._peers.pass_on(worker, copy)
        messages.add(turn.batch, key, seq=turn.next_seq(), time_s=send.time_s, digest=send.digest)
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        for stored in self._on_stored:
            stored(send)

    def refuse(self, front: Identity, send: Send, code: int, reason: str) -> None:
        """Answer a send that is not stored."""
        self._turn.counters[f"sends_refused_{code}"] += 1
        self._turn.to_fronts[front].append(Refused(send.request, code, reason))

    def _repeat(self, front: Identity, send: Send, known: messages.Known) -> None:
        """Answer a send whose id this author used before in this chat (R20)."""
        if known.digest == send.digest:
            self._turn.counters["sends_repeated"] += 1
            self._turn.to_fronts[front].append(Stored(send.request, known.time_s))
        else:
            self.refuse(front, send, 409, "this id was used for another message in this chat")

    def _stops(self, judges: Sequence[Judge], front: Identity, send: Send, key: bytes) -> bool:
        """Tell whether one of the extensions' steps stops a send, which is then answered."""
        for judge in judges:
            verdict = judge.ask(send)
            match verdict:
                case None:
                    continue
                case Refuse():
                    self.refuse(front, send, verdict.code, verdict.reason)
                case Suppress():
                    self._suppress(front, send, key)
                case _:
                    assert_never(verdict)
            return True
        return False

    def _suppress(self, front: Identity, send: Send, key: bytes) -> None:
        """Have the author see what it sees of every message that nobody has acked."""
        turn = self._turn
        if turn.refusal:
            self.refuse(front, send, 500, turn.refusal)
            return
        messages.add_unsent(
            turn.batch, key, seq=turn.next_seq(), time_s=send.time_s, digest=send.digest
        )
        turn.counters["sends_suppressed"] += 1
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
