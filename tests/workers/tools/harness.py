"""Data directories under test: laid out, filled, looked at, and broken on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lmdb

from relay.bus.envelopes import CloseSession, Durable
from relay.disk.groupfile import Group
from relay.disk.layout import generation_directory, read_layout
from relay.protocol.slots import ShardMap
from relay.settings.tables import Settings
from tests.workers.shard.harness import (
    FRONT,
    OTHER_FRONT,
    SETTINGS,
    ClusterHarness,
    ack,
    group_of,
    settings_with,
    to_group,
    to_user,
)
from workers.shard import mailbox, outbox
from workers.shard.shard import Shard
from workers.store.keys import SEQ_BYTES, pack_seq, split_box, split_owned, unpack_seq
from workers.store.moment import pin
from workers.store.schema import MAX_TREES, KeyKind, names_in, owned_row
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.tools.check import check_stores
from workers.tools.report import Report
from workers.tools.reshard import reshard

# Trees of an extension that these tests do not load, one of which grows.
NOTES, LOG = owned_row("diary.notes"), owned_row("diary.log", grows=True)
Item = tuple[str, str, bytes]  # tree, owner and key

USERS = [f"user{number}" for number in range(12)]
HIKE, CHOIR = "917069852821-1566557065", "917069852821-1566557066"
DIARY: dict[Item, bytes] = {
    (NOTES.name, owner, key): owner.encode()
    for owner in (*USERS, HIKE)
    for key in (b"", b"a", b"b")
} | {(LOG.name, owner, pack_seq(1)): b"entry" for owner in USERS}
GROUPS = {**group_of(HIKE, *USERS), **group_of(CHOIR, *USERS[3:8])}


def settings_for(workers: int, **tables: Mapping[str, object]) -> Settings:
    return settings_with(server={"workers": workers}, **tables)


def lay_out(data: Path, workers: int, *, reached: Callable[[str], None] = lambda _: None) -> None:
    """Bring the data directory into the layout for so many workers; it may be new."""
    data.mkdir(exist_ok=True)
    reshard(data, settings_for(workers), reached=reached)


@contextmanager
def cluster_on(
    data: Path, groups: Mapping[str, Group] = GROUPS, settings: Settings | None = None
) -> Iterator[ClusterHarness]:
    """Shards on the stores that count."""
    layout = read_layout(data)
    cluster = ClusterHarness(
        generation_directory(data, layout.generation),
        workers=layout.workers,
        groups=groups,
        settings=settings or SETTINGS,
    )
    try:
        yield cluster
    finally:
        cluster.close()


@contextmanager
def snapshots_of(data: Path) -> Iterator[dict[int, Snapshot]]:
    layout = read_layout(data)
    with ExitStack() as stack:
        snapshots = {}
        for index in range(layout.workers):
            snapshots[index] = Snapshot(layout.store_directory(data, index))
            stack.callback(snapshots[index].close)
        pin(snapshots, attempts=1)
        yield snapshots


def checked(data: Path) -> Report:
    layout = read_layout(data)
    report = Report()
    with snapshots_of(data) as snapshots:
        check_stores(snapshots, report, generation=layout.generation, workers=layout.workers)
    return report


def problems(data: Path) -> list[str]:
    return [str(finding) for finding in checked(data).findings]


def mailboxes(data: Path) -> dict[str, list[tuple[int, bytes]]]:
    """Return every user's entries with their seq, group messages in full."""
    found: dict[str, list[tuple[int, bytes]]] = {}
    with snapshots_of(data) as snapshots:
        for snapshot in snapshots.values():
            for key, raw in snapshot.items("mail"):
                content = raw
                if raw[0] == mailbox.GROUP_MESSAGE:
                    body, length = mailbox.body_of(raw)
                    content = b"g" + (snapshot.get("bodies", pack_seq(body)) or b"")
                    assert len(content) == 1 + length
                user, _ = split_box(key[:-SEQ_BYTES])
                found.setdefault(user, []).append((unpack_seq(key), content))
    return found


def records(data: Path) -> dict[bytes, bytes]:
    """Return what is known of messages, wherever it is kept."""
    with snapshots_of(data) as snapshots:
        return dict(item for each in snapshots.values() for item in each.items("messages"))


def waiting(data: Path) -> list[tuple[int, int, Durable]]:
    """Return (sender, peer, entry) of all outboxes."""
    with snapshots_of(data) as snapshots:
        return [
            (sender, int.from_bytes(key[:2], "big"), outbox.decode(value))
            for sender, snapshot in snapshots.items()
            for key, value in snapshot.items("outbox")
        ]


def fold_in(directory: Path) -> None:
    """Bring the pages of a store up to date, so that nothing lies above them."""
    store = Store(directory, durability="os", map_bytes=1 << 26, max_map_bytes=1 << 26)
    while store.has_unfolded:
        store.fold(at_once=True)
    store.close()


def change(data: Path, worker: int, edit: Callable[[Any, dict[str, Any]], object]) -> None:
    """Edit a store behind the back of everything that keeps it true to itself."""
    directory = read_layout(data).store_directory(data, worker)
    fold_in(directory)
    with lmdb.open(str(directory), map_size=1 << 26, max_dbs=MAX_TREES) as environment:
        with environment.begin() as txn:
            names = names_in(txn)
        trees = {name: environment.open_db(name.encode()) for name in names}
        with environment.begin(write=True) as txn:
            edit(txn, trees)


def fill(cluster: ClusterHarness) -> None:
    """Have a bit of everything that a store may hold, but nothing on its way between shards."""
    for round_ in range(3):
        for number, author in enumerate(USERS):
            for step in (1, 5):
                chat = USERS[(number + step) % len(USERS)]
                cluster.feed(to_user(author, chat, f"{author}-{step}-{round_}", "text" * round_))
    for number in range(4):
        cluster.feed(to_group(USERS[number], HIKE, f"hike-{number}"))
        cluster.feed(to_group(USERS[number + 3], CHOIR, f"choir-{number}"))
    # Receipts for the absent, of several levels.
    for number, reader in enumerate(USERS):
        author = USERS[(number - 1) % len(USERS)]
        cluster.feed(ack(reader, f"{author}-1-0", 2, author=author))
        cluster.feed(ack(reader, f"{author}-1-0", 3, author=author))
        cluster.feed(ack(reader, "hike-0", 2, author=USERS[0], group=HIKE))
    # One who was here and left, with a receipt that waited for a pong.
    cluster.login(USERS[2], 1)
    cluster.feed(ack(USERS[3], f"{USERS[2]}-1-1", 2, author=USERS[2]))
    cluster.feed(CloseSession(1))
    cluster.now_ms += 1000


def write_owned(data: Path, items: Mapping[Item, bytes]) -> None:
    """Have items of an extension, each in the store of the worker that owns its owner."""
    layout = read_layout(data)
    shards = ShardMap(layout.workers)
    for index in range(layout.workers):
        store = Store(
            layout.store_directory(data, index),
            durability="os",
            map_bytes=1 << 24,
            max_map_bytes=1 << 26,
            owned=(NOTES, LOG),
        )
        with store.writing() as batch:
            for (tree, owner, key), value in items.items():
                if shards.owner_of(owner) == index:
                    batch.owned_tree(tree).put(owner, key, value)
        store.close()


def owned(data: Path) -> dict[Item, bytes]:
    """Return the items of all extensions, wherever they are kept."""
    found: dict[Item, bytes] = {}
    with snapshots_of(data) as snapshots:
        for snapshot in snapshots.values():
            for row in snapshot.rows:
                if row.key is KeyKind.OWNED:
                    for whole, value in snapshot.items(row.name):
                        owner, key = split_owned(whole)
                        assert (row.name, owner, key) not in found, "two workers have one item"
                        found[row.name, owner, key] = value
    return found


def lose_sessions(cluster: ClusterHarness) -> None:
    """Have mailboxes that nobody counts: their users were logged in when all was killed."""
    cluster.login(USERS[4], 2, front=OTHER_FRONT)
    cluster.feed(ack(USERS[5], f"{USERS[4]}-1-2", 2, author=USERS[4]), front=FRONT)


def hold_up(cluster: ClusterHarness) -> None:
    """Leave receipts and group messages in outboxes; the first of each link has been applied."""
    workers = range(len(cluster.shards))
    for one in workers:
        for other in range(one):
            cluster.cut(one, other)
    for number in range(4):
        cluster.feed(to_group(USERS[number], HIKE, f"late-{number}"))
    for number, reader in enumerate(USERS):
        author = USERS[(number - 5) % len(USERS)]
        cluster.feed(ack(reader, f"{author}-5-1", 2, author=author))
    for sender in cluster.shards:
        first: dict[int, Durable] = {}
        for key, value in sender.tree("outbox").items():
            first.setdefault(int.from_bytes(key[:2], "big"), outbox.decode(value))
        for peer, entry in first.items():
            # Applied, but the word of it was lost.
            take = partial(_apply, origin=sender.identity, peer=sender.index, entry=entry)
            cluster.shards[peer].turn(take, now_ms=cluster.now_ms)


def _apply(shard: Shard, *, origin: bytes, peer: int, entry: Durable) -> None:
    shard.apply(origin, peer, entry)
