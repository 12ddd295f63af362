"""What was on its way between workers: done once, by those that own it from now on."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.bus.envelopes import Carry, Content, GroupCopy, Receipt
from relay.disk.layout import read_layout
from relay.errors import BootError
from relay.extensions.contract import Extension, TreeSpec, WorkerHalf
from relay.extensions.registry import Registry
from relay.protocol.slots import ShardMap
from tests import plain
from tests.workers.tools.harness import (
    DIARY,
    HIKE,
    USERS,
    change,
    lay_out,
    owned,
    problems,
    snapshots_of,
    waiting,
    write_owned,
)
from workers.store.keys import pack_peer, pack_seq
from workers.store.meta import APPLIED_NAME, SEQ_NAME
from workers.tools import reshard as reshard_module
from workers.tools.takeover import by_owner, unapplied

SHARDS = ShardMap(3)


def test_a_receipt_goes_to_its_author_and_what_an_extension_does_to_its_owner() -> None:
    for user in USERS:
        receipt = Receipt(user, "", "id", "acker", 2, 7)
        carry = Carry("diary", user, b"body")

        assert list(by_owner(receipt, SHARDS)) == [(SHARDS.owner_of(user), receipt)]
        assert list(by_owner(carry, SHARDS)) == [(SHARDS.owner_of(user), carry)]


def test_a_group_message_is_divided_among_the_owners_of_its_members() -> None:
    copy = GroupCopy(USERS[0], HIKE, "id", 7, USERS, b"frame")

    parts = dict(by_owner(copy, SHARDS))

    assert len(parts) == 3
    members: list[str] = []
    for worker, part in parts.items():
        assert isinstance(part, GroupCopy)
        assert part == msgspec.structs.replace(copy, members=part.members)
        assert {SHARDS.owner_of(member) for member in part.members} == {worker}
        members += part.members
    assert sorted(members) == sorted(USERS)


def put_outgoing(data: Path, sender: int, peer: int, seq: int, content: Content) -> None:
    key = pack_peer(peer) + pack_seq(seq)
    value = msgspec.msgpack.encode(plain.durable(seq, content))

    def edit(txn: Any, trees: dict[str, Any]) -> None:
        txn.put(key, value, db=trees["outbox"])
        txn.put(SEQ_NAME, pack_seq(seq), db=trees["meta"])

    change(data, sender, edit)


def test_what_the_peer_has_applied_is_left_out(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", 2)
    for seq in (7, 8):
        put_outgoing(tmp_path / "data", 0, 1, seq, Carry("diary", f"user{seq}", b"body"))
    change(
        tmp_path / "data",
        1,
        lambda txn, trees: txn.put(APPLIED_NAME % 0, pack_seq(7), db=trees["meta"]),
    )

    with snapshots_of(tmp_path / "data") as snapshots:
        left = list(unapplied([snapshots[0], snapshots[1]]))

    assert left == [Carry("diary", "user8", b"body")]


@pytest.mark.parametrize("peer", [0, 2])
def test_an_entry_for_nobody_is_refused(tmp_path: Path, peer: int) -> None:
    lay_out(tmp_path / "data", 2)
    put_outgoing(tmp_path / "data", 0, peer, 7, Carry("diary", "bob", b"body"))

    with (
        snapshots_of(tmp_path / "data") as snapshots,
        pytest.raises(BootError, match=f"worker 0 has an entry for worker {peer}"),
    ):
        list(unapplied([snapshots[0], snapshots[1]]))


class Half(WorkerHalf):
    """Notes what is carried to it beside what its owner had."""

    def carried(self, owner: str, body: bytes) -> None:
        assert self.desk.owns(owner)
        notes = self.desk.tree("notes")
        assert notes.get(owner, b"a") == owner.encode()  # which was moved before
        notes.put(owner, b"carried", body)


def test_what_an_extension_has_to_do_is_done_in_its_trees_at_the_new_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    lay_out(data, 2)
    write_owned(data, DIARY)
    owner = next(user for user in USERS if ShardMap(2).owner_of(user) == 1)
    put_outgoing(data, 0, 1, 7, Carry("diary", owner, b"body"))
    assert problems(data) == []
    trees = (TreeSpec(name="notes"), TreeSpec(name="log"))
    diary = Extension(name="diary", trees=trees, worker=Half)
    monkeypatch.setattr(reshard_module, "of_worker", lambda settings: Registry([diary]))

    lay_out(data, 3)

    assert read_layout(data).workers == 3
    assert waiting(data) == []
    assert owned(data) == DIARY | {("diary.notes", owner, b"carried"): b"body"}
    assert problems(data) == []
