"""What the half of an extension reaches in a worker: `relay.extensions.contract.ShardDesk`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from relay.bus.envelopes import Carry, Seq, Tell
from relay.disk.groupfile import Group
from relay.extensions.contract import Asker, Extension, ExtensionTree
from relay.settings.tables import Settings
from workers.shard.groups import Groups
from workers.shard.mailboxes import Mailboxes
from workers.shard.peers import Peers
from workers.shard.readers import Readers
from workers.shard.turn import Turn

_pack = msgspec.msgpack.Encoder().encode


class Desk:
    """The desk of one extension; what it does is part of the open batch."""

    def __init__(
        self,
        extension: Extension,
        turn: Turn,
        readers: Readers,
        peers: Peers,
        groups: Groups,
        mailboxes: Mailboxes,
    ) -> None:
        self._name = extension.name
        self._extension = extension
        self._trees = {tree.name: f"{extension.name}.{tree.name}" for tree in extension.trees}
        self._turn = turn
        self._readers = readers
        self._peers = peers
        self._groups = groups
        self._mailboxes = mailboxes
        self._table: Any = None
        self._table_of: Settings | None = None  # the settings that it is from

    @property
    def settings(self) -> Settings:
        """The relay's settings as they are now."""
        return self._turn.settings

    @property
    def table(self) -> Any:
        """The extension's own settings as they are now; None where it has none."""
        if self._table_of is not self._turn.settings:
            self._table_of = self._turn.settings
            self._table = self._extension.table_of(self._table_of)
        return self._table

    @property
    def refusal(self) -> str:
        """Why nothing more should be stored, for people; empty while there is room."""
        return self._turn.refusal

    def now_ms(self) -> int:
        """Return the batch's time since 1970 in ms."""
        return self._turn.now_ms

    def next_seq(self) -> Seq:
        """Return a number higher than any that this worker gave out before."""
        return self._turn.next_seq()

    def tree(self, name: str) -> ExtensionTree:
        """Return one of the trees that the extension has named, as the open batch has it.

        Raises:
            LookupError: it has named none so.
        """
        if name not in self._trees:
            raise LookupError(f"the extension {self._name} has named no tree {name!r}")
        return self._turn.batch.owned_tree(self._trees[name])

    def owns(self, local: str) -> bool:
        """Tell whether this worker owns a user or group."""
        return self._peers.owns(local)

    def members(self, group: str) -> Sequence[str]:
        """Return the members of a group that this worker owns; empty where there is no such."""
        return self._groups.members(group)

    def groups(self) -> Mapping[str, Group]:
        """Return the groups that this worker owns, by local part: another object once changed."""
        return self._groups.all

    def serves(self, user: str) -> bool:
        """Tell whether a user of this worker has a session."""
        return self._readers.of_user(user) is not None

    def waiting(self, user: str) -> int:
        """Return how many messages wait for a user of this worker."""
        mailbox = self._mailboxes.of(user)
        mailbox.count(self._turn.batch)
        return mailbox.messages

    def answer(self, asker: Asker, frame: bytes) -> None:
        """Write the answer to a request, once the batch is committed."""
        self._turn.to_fronts[asker.front].append(Tell(asker.session, "", frame))

    def refuse(self, asker: Asker, code: int, reason: str) -> None:
        """Answer with an `error` frame."""
        self.answer(asker, asker.correlation.error(code, reason))

    def tell(self, user: str, body: object) -> bool:
        """Tell the half in the front that holds the user's session; False where he has none."""
        reader = self._readers.of_user(user)
        if reader is None:
            return False
        told = Tell(reader.number, self._name, _pack(body))
        self._turn.to_fronts[reader.front].append(told)
        return True

    def carry(self, owner: str, body: object) -> None:
        """Have the half in the worker that owns `owner` do something durable, once."""
        carry = Carry(self._name, owner, _pack(body))
        self._peers.pass_on(self._peers.owner_of(owner), carry)

    def count(self, what: str, times: int = 1) -> None:
        """Count something, as `NAME.what`."""
        self._turn.counters[f"{self._name}.{what}"] += times
