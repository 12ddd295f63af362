"""The provisioned groups that a worker owns, and the copies of group messages for members here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.bus.envelopes import GroupCopy
from relay.disk.groupfile import Group
from relay.errors import MailboxFull
from workers.shard import messages
from workers.shard.halves import Halves
from workers.shard.mailbox import refer_to_body
from workers.shard.mailboxes import Mailboxes
from workers.shard.pages import Pages
from workers.shard.peers import Peers
from workers.shard.readers import Readers
from workers.shard.turn import Turn
from workers.store.keys import around_recipient, pack_seq


class Groups:
    """Who is a member of what; other workers' groups are unknown here."""

    def __init__(self, peers: Peers) -> None:
        self._owns = peers.owns
        self._owner_of = peers.owner_of
        self._groups: Mapping[str, Group] = {}
        self._by_worker: dict[str, dict[int, list[str]]] = {}  # once somebody has written there
        self._member_sets: dict[str, frozenset[str]] = {}

    def provision(self, groups: Mapping[str, Group]) -> None:
        """Replace the provisioned groups; those of other workers are left out."""
        self._groups = {local: group for local, group in groups.items() if self._owns(local)}
        self._by_worker = {}
        self._member_sets = {
            local: frozenset(group.participants) for local, group in self._groups.items()
        }

    def __contains__(self, local: str) -> bool:
        return local in self._groups

    @property
    def all(self) -> Mapping[str, Group]:
        """Those of this worker by local part: another object once they were provisioned anew."""
        return self._groups

    def members(self, local: str) -> Sequence[str]:
        """Return the members of a group in their order; none of one that is unknown."""
        group = self._groups.get(local)
        return () if group is None else group.participants

    def by_worker(self, local: str) -> Mapping[int, Sequence[str]]:
        """Return the members of a group in their order, by the worker that serves them."""
        members_of = self._by_worker.get(local)
        if members_of is None:
            members_of = self._by_worker[local] = {}
            for member in self.members(local):
                members_of.setdefault(self._owner_of(member), []).append(member)
        return members_of

    def has_member(self, local: str, user: str) -> bool:
        """Tell whether the group is known and `user` in it."""
        return user in self._member_sets.get(local, ())


class Copies:
    """Queues group messages for the members that are served here."""

    def __init__(
        self, turn: Turn, readers: Readers, mailboxes: Mailboxes, pages: Pages, halves: Halves
    ) -> None:
        self._turn = turn
        self._on_queued = halves.queued
        self._on_overfull = halves.overfull
        self._reader_of = readers.of_user
        self._mailboxes = mailboxes
        self._takes_live = pages.takes_live

    def apply(self, copy: GroupCopy) -> None:
        """Queue a group message for the members that it names, its body stored once."""
        turn = self._turn
        batch = turn.batch
        seq, length = turn.next_seq(), len(copy.frame)
        entry = refer_to_body(seq, length)
        record = messages.new_record(seq=seq, time_s=copy.time_s)
        before, behind = around_recipient(copy.message_id, copy.author, copy.group)
        get_message, takes_live = batch.getter_of(before), self._takes_live
        deliver, number, author = turn.effects.deliver_shared, pack_seq(seq), copy.author
        records: dict[bytes, bytes] = {}
        entries: dict[bytes, bytes] = {}
        for member in copy.members:
            key = before + member.encode() + behind
            if get_message(key) is not None or key in records:
                continue
            reader = self._reader_of(member)
            mailbox = reader.mailbox if reader is not None else self._mailboxes.of_absent(member)
            try:
                mailbox.expect_group_message(batch, author, length, turn.room)
            except MailboxFull as error:
                turn.counters["group_copies_skipped"] += 1
                for overfull in self._on_overfull:
                    overfull(member, copy, error)
                continue
            if mailbox.evicted:
                self._mailboxes.count_evicted(mailbox)
            records[key] = record
            entries[mailbox.box + number] = entry
            if reader is None:
                for queued in self._on_queued:
                    queued(member, copy)
            elif takes_live(reader):
                reader.sent(seq)
                deliver(reader.front, reader.number, seq, copy.frame)
        if entries:
            batch.add_messages(records)
            batch.put_mails(entries)
            batch.put_body(seq, copy.frame, len(entries))
