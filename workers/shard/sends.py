"""Messages that clients send: judged step by step, stored, answered, delivered (2.3, 2.5)."""

from __future__ import annotations

from typing import Any

from relay.bus.envelopes import Deliver, GroupCopy, Refused, SendToGroup, SendToUser, Stored
from relay.errors import MailboxFull
from relay.extensions.contract import Refuse, Send, Suppress
from relay.protocol.stanza import LEVEL_PLAYED
from workers.shard import messages
from workers.shard.effects import Identity
from workers.shard.groups import Groups
from workers.shard.halves import Halves
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.pipeline import Judge, Work, arrange, check_places
from workers.shard.readers import Readers
from workers.shard.turn import Turn
from workers.store.keys import message_key


class Sends:
    """Takes sends to users and to groups; each is answered once, in its own batch.

    Raises:
        ValueError: an extension has a step where there is no place for one.
    """

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
        self._stored = halves.stored
        check_places(halves.judges)
        self._steps_to_user: tuple[Work[SendToUser], ...] = arrange(
            {
                "known": self._known,
                "quota": self._quota_of_user,
                "store": self._store_for_user,
            },
            halves.judges,
            self._work_of,
        )
        self._steps_to_group: tuple[Work[SendToGroup], ...] = arrange(
            {
                "known": self._known,
                "group": self._group,
                "store": self._store_for_group,
            },
            halves.judges,
            self._work_of,
        )

    def to_user(self, front: Identity, send: SendToUser) -> None:
        """Decide on a 1-1 message."""
        chat = send.chat
        if self._reader_of(chat) is None and not self._peers.owns(chat):
            self.refuse(front, send, 503, "the recipient is served elsewhere, send again")
            return
        key = message_key(send.message_id, send.author, chat, "")
        for step in self._steps_to_user:
            if step(front, send, key):
                return

    def to_group(self, front: Identity, send: SendToGroup) -> None:
        """Decide on a group message."""
        if not self._peers.owns(send.chat):
            self.refuse(front, send, 503, "the group is served elsewhere, send again")
            return
        key = message_key(send.message_id, send.author, "", send.chat)
        for step in self._steps_to_group:
            if step(front, send, key):
                return

    def refuse(self, front: Identity, send: Send, code: int, reason: str) -> bool:
        """Answer a send that is not stored; True, as of a step that has answered."""
        self._turn.counters[f"sends_refused_{code}"] += 1
        self._turn.to_fronts[front].append(Refused(send.request, code, reason))
        return True

    # --------------------------------------------------------------------------- steps in order

    def _known(self, front: Identity, send: Send, key: bytes) -> bool:
        """Answer a send whose id this author used before in this chat (R20)."""
        known = messages.read(self._turn.batch, key, send.author)
        if known is None:
            return False
        if known.digest != send.digest:
            reason = "this id was used for another message in this chat"
            return self.refuse(front, send, 409, reason)
        self._turn.counters["sends_repeated"] += 1
        self._turn.to_fronts[front].append(Stored(send.request, known.time_s))
        return True

    def _group(self, front: Identity, send: SendToGroup, key: bytes) -> bool:
        if send.chat not in self._groups:
            return self.refuse(front, send, 404, "unknown group")
        if not self._groups.has_member(send.chat, send.author):
            return self.refuse(front, send, 403, "not a member of the group")
        return False

    def _quota_of_user(self, front: Identity, send: SendToUser, key: bytes) -> bool:
        mailbox = self._mailboxes.of(send.chat)
        try:
            mailbox.check_room(self._turn.batch, len(send.frame), self._turn.limits)
        except MailboxFull as error:
            return self.refuse(front, send, 507, str(error))
        return False

    def _store_for_user(self, front: Identity, send: SendToUser, key: bytes) -> bool:
        turn = self._turn
        reader = self._reader_of(send.chat)
        mailbox = reader.mailbox if reader is not None else self._mailboxes.of_absent(send.chat)
        try:
            if turn.refusal:
                mailbox.check_room(turn.batch, len(send.frame), turn.limits)
                return self.refuse(front, send, 500, turn.refusal)
            seq = turn.next_seq()
            mailbox.add_message(turn.batch, seq, send.frame, turn.limits)
        except MailboxFull as error:
            return self.refuse(front, send, 507, str(error))
        messages.add(turn.batch, key, seq=seq, time_s=send.time_s, digest=send.digest)
        if mailbox.evicted:
            self._mailboxes.count_evicted(mailbox)
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        if reader is not None and self._takes_live(reader):
            reader.sent(seq)
            turn.to_fronts[reader.front].append(Deliver(reader.number, seq, "", send.frame))
        for stored in self._stored:
            stored(send)
        return True

    def _store_for_group(self, front: Identity, send: SendToGroup, key: bytes) -> bool:
        turn = self._turn
        if turn.refusal:
            return self.refuse(front, send, 500, turn.refusal)
        by_worker: dict[int, list[str]] = {}
        for member in self._groups.members(send.chat):
            if member != send.author:
                by_worker.setdefault(self._peers.owner_of(member), []).append(member)
        for worker, members in by_worker.items():
            copy = GroupCopy(
                send.author, send.chat, send.message_id, send.time_s, members, send.frame
            )
            self._peers.pass_on(worker, copy)
        messages.add(turn.batch, key, seq=turn.next_seq(), time_s=send.time_s, digest=send.digest)
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        for stored in self._stored:
            stored(send)
        return True

    # ---------------------------------------------------------------- steps of extensions

    def _work_of(self, judge: Judge) -> Work[Any]:
        def work(front: Identity, send: Send, key: bytes) -> bool:
            match judge.ask(send):
                case None:
                    return False
                case Refuse(code, reason):
                    return self.refuse(front, send, code, reason)
                case Suppress():
                    return self._suppress(front, send, key)

        return work

    def _suppress(self, front: Identity, send: Send, key: bytes) -> bool:
        """Have the author see what it sees of every message that nobody has acked."""
        turn = self._turn
        if turn.refusal:
            return self.refuse(front, send, 500, turn.refusal)
        messages.add(
            turn.batch,
            key,
            seq=turn.next_seq(),
            time_s=send.time_s,
            digest=send.digest,
            # Who never got it cannot ack it: no level is above this one.
            level=LEVEL_PLAYED,
        )
        turn.counters["sends_suppressed"] += 1
        turn.to_fronts[front].append(Stored(send.request, send.time_s))
        return True
