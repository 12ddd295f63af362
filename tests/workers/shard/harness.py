"""Shards under test: real stores, a clock that stands still, and peers joined without a bus.

A `ClusterHarness` takes envelopes as fronts send them, gives each to the shard that owns it,
commits, and carries what shards say to each other until all is quiet. After every
batch the store must be true to itself (`ShardHarness.check`); a failure shows the story so far.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from relay.bus.envelopes import (
    LIVE,
    LOGIN,
    QUEUE,
    Acked,
    AckedByMany,
    Applied,
    Ask,
    CloseSession,
    Confirmed,
    Deliver,
    DeliverReceipts,
    DeliverToMany,
    Durable,
    EndSession,
    Entry,
    OpenSession,
    Page,
    Pause,
    Ready,
    Receipt,
    RequestNumber,
    SendToGroup,
    SendToUser,
    Seq,
    SessionOpened,
    SessionRefused,
    StrayAck,
    ToFront,
    ToWorker,
)
from relay.disk.groupfile import Group
from relay.extensions.registry import Registry
from relay.protocol.slots import ShardMap, shard_ranges, slot_of
from relay.settings.tables import Settings, StoreSettings
from tests import plain
from workers.shard.effects import Effects, Identity
from workers.shard.mailbox import receipt_frame, receipts_of
from workers.shard.readers import ReaderState
from workers.shard.shard import NO_EXTENSIONS, Shard
from workers.store.batch import Batch
from workers.store.keys import box_of, receipt_key, unpack_seq
from workers.store.schema import rows_of
from workers.store.store import Store

FRONT = b"front-0-1"
OTHER_FRONT = b"front-1-2"
NOW_S = 1_566_970_629
DAY_MS = 86_400_000

ALICE, BOB, CAROL, DAVE = "917069852821", "919428284313", "919354513536", "919971033011"
HIKE = "917069852821-1566557065"

SETTINGS = Settings(store=StoreSettings(durability="os", map_bytes=1 << 24))


def settings_with(**tables: Mapping[str, object]) -> Settings:
    """Return the settings for tests with some replaced: `mailbox={"max_entries": 2}`."""
    return msgspec.structs.replace(
        SETTINGS,
        **{
            table: msgspec.structs.replace(getattr(SETTINGS, table), **changes)
            for table, changes in tables.items()
        },
    )


def group_of(local: str, *members: str) -> dict[str, Group]:
    return {local: Group(local=local, subject="Hike", participants=members, admins=())}


def local_of(worker: int, *, workers: int, prefix: str = "u") -> str:
    """Return the first local part of that prefix that `worker` of `workers` serves."""
    slots = shard_ranges(workers)[worker]
    return next(f"{prefix}{n}" for n in count() if slot_of(f"{prefix}{n}") in slots)


# ------------------------------------------------------------------------------------ envelopes

_requests = count(1)


def to_user(
    author: str,
    chat: str,
    message_id: str,
    text: str = "hi",
    *,
    time_s: int = NOW_S,
    frame: bytes | None = None,
    request: int = 0,
) -> SendToUser:
    """A 1-1 send. Its frame is no JSON: behind the front nobody reads it."""
    return SendToUser(
        RequestNumber(request or next(_requests)),
        author,
        chat,
        message_id,
        time_s,
        blake2b(text.encode(), digest_size=8).digest(),
        f"{author} {message_id} {text}".encode() if frame is None else frame,
    )


def to_group(
    author: str, group: str, message_id: str, text: str = "hi", *, request: int = 0
) -> SendToGroup:
    return SendToGroup(
        RequestNumber(request or next(_requests)),
        author,
        group,
        message_id,
        NOW_S,
        blake2b(text.encode(), digest_size=8).digest(),
        f"{author} {group} {message_id} {text}".encode(),
    )


def ack(
    acker: str,
    message_id: str | list[str],
    level: int = 2,
    *,
    author: str,
    to: str = "",
    group: str = "",
    t: int = -1,
) -> Acked:
    """What `acker` sends for a message of `author`: `to` is the acker unless a group is given."""
    ids = [message_id] if isinstance(message_id, str) else message_id
    return Acked(acker, ids, level, author, False, group or to or acker, bool(group), t)


def acks_of_many(
    ackers: Sequence[str],
    message_id: str,
    level: int = 2,
    *,
    author: str = ALICE,
    group: str = HIKE,
    times_s: Sequence[int] = (),
) -> AckedByMany:
    """What several members of a group say of one message."""
    times = list(times_s) or [-1] * len(ackers)
    return AckedByMany(message_id, level, author, group, list(ackers), times)


def receipt(
    author: str, acker: str, message_id: str, level: int = 2, *, group: str = "", t: int = NOW_S
) -> bytes:
    """The frame that tells `author` how far `acker` is."""
    return receipt_frame(Receipt(author, group, message_id, acker, level, t))


def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with the entry behind which each search from now on begins."""
    begun: list[int] = []
    scan_mail = Batch.scan_mail

    def watched(batch: Batch, box: bytes, *, after: int = 0) -> Iterator[tuple[int, bytes]]:
        begun.append(after)
        return scan_mail(batch, box, after=Seq(after))

    monkeypatch.setattr(Batch, "scan_mail", watched)
    return begun


def sends_to_bob(*ids: str) -> list[SendToUser]:
    """A 1-1 send of Alice to Bob for each id."""
    return [to_user(ALICE, BOB, message_id) for message_id in ids]


# ---------------------------------------------------------------------------------- one shard


class ShardHarness:
    """One shard and its store, through any number of incarnations."""

    def __init__(
        self,
        directory: Path,
        index: int,
        workers: int,
        settings: Settings,
        groups: Mapping[str, Group],
        registry: Registry = NO_EXTENSIONS,
    ) -> None:
        self.directory = directory
        self.index = index
        self.groups = groups
        self.incarnation = 0
        self.is_up = False
        self._workers = workers
        self._settings = settings
        self._registry = registry
        self.refusal = ""  # why its shard is told that no send can be stored
        # Users whose session ended with an incarnation: nothing has counted their mailbox since.
        self._uncounted: set[str] = set()
        self.start()

    def start(self) -> None:
        """Open the store with a fresh shard."""
        self.incarnation += 1
        store = self._settings.store
        self.store = Store(
            self.directory,
            durability=store.durability,
            map_bytes=store.map_bytes,
            max_map_bytes=store.max_map_bytes,
            owned=rows_of(self._registry.extensions.values()),
        )
        self.shard = Shard(
            self.index, ShardMap(self._workers), self._settings, registry=self._registry
        )
        self.shard.provision(self.groups)
        self.is_up = True

    def stop(self) -> None:
        """End the incarnation as SIGKILL does; only what was committed is left of it."""
        self._uncounted |= {session.user for session in self.shard.readers}
        self.store._journal.close()
        self.store._env.close()
        os.close(self.store._lock_file)
        self.is_up = False

    @property
    def identity(self) -> Identity:
        """What its peers know this incarnation by."""
        return b"worker-%d-%d" % (self.index, self.incarnation)

    def turn(
        self, decide: Callable[[Shard], object], *, now_ms: int, commit: bool = True
    ) -> Effects:
        """Run one batch; with `commit=False` everything of it is lost with the incarnation."""
        present = {session.user for session in self.shard.readers}
        batch = self.store.begin()
        try:
            self.shard.begin(batch, now_ms=now_ms, refusal=self.refusal)
            decide(self.shard)
            effects = self.shard.end()
        except BaseException:
            batch.abort()
            raise
        if commit:
            batch.commit()
            self.check()
        else:
            batch.abort()
            self.stop()
            self._uncounted |= present
        return effects

    def fold_in(self) -> None:
        """Bring the store's pages up to date, as happens within seconds."""
        while self.store.has_unfolded:
            self.store.fold(at_once=True)

    def tree(self, name: str) -> dict[bytes, bytes]:
        """Return all of one tree of the store."""
        with self.store.reading():
            return dict(self.store._trees[name].scan(b""))

    def mail(self, user: str) -> list[tuple[int, bytes]]:
        """Return the entries of a mailbox as they are stored."""
        box = box_of(user)
        return [
            (unpack_seq(key), entry)
            for key, entry in self.tree("mail").items()
            if key.startswith(box)
        ]

    def check(self) -> None:
        """Recount everything that the store or the shard keeps a count or an index of."""
        mail = self.tree("mail")
        totals: dict[bytes, list[int]] = {}
        holders: Counter[int] = Counter()
        findable: dict[bytes, int] = {}
        last: dict[bytes, int] = {}
        unfindable: set[bytes] = set()
        for key, entry in mail.items():
            box, seq = key[:-8], unpack_seq(key)
            total = totals.setdefault(box, [0, 0, 0])
            last[box] = seq
            match chr(entry[0]):
                case "m":
                    total[0] += 1
                    total[1] += len(entry) - 1
                case "g":
                    body = int.from_bytes(entry[1:9], "big")
                    holders[body] += 1
                    total[0] += 1
                    total[1] += int.from_bytes(entry[9:13], "big")
                case "r" | "R" as kind:
                    total[2] += 1
                    found = msgspec.msgpack.decode(entry[1:], type=Receipt)
                    if kind == "R":
                        index = receipt_key(box, found.message_id, found.acker, found.group)
                        assert index not in findable, f"two receipts for one place: {found}"
                        findable[index] = seq
                    else:
                        unfindable.add(box)
                case "s":
                    total[2] += len(receipts_of(entry))
                    unfindable.add(box)
                case kind:
                    raise AssertionError(f"an entry of kind {kind}")

        bodies = self.tree("bodies")
        counted = {unpack_seq(k): int.from_bytes(v, "big") for k, v in self.tree("holders").items()}
        assert counted == holders, f"holders {counted}, but {dict(holders)} refer to the bodies"
        assert {unpack_seq(key) for key in bodies} == set(holders), "bodies that nobody holds"

        index_of = {key: unpack_seq(value) for key, value in self.tree("receipts").items()}
        assert index_of == findable, f"index of receipts {index_of}, in mailboxes {findable}"

        listed = Counter(
            key
            for keys in self.tree("expiry").values()
            for key in msgspec.msgpack.decode(keys, type=list[bytes])
        )
        assert set(listed) == set(self.tree("messages")), "messages and their expiry differ"
        assert set(listed.values()) <= {1}, f"listed to expire twice: {listed.most_common(1)}"

        kept = self.tree("boxes")
        present = {box_of(session.user): session for session in self.shard.readers}
        for box, session in present.items():
            mailbox, cursor = session.mailbox, session.cursor
            count_ = [mailbox.messages, mailbox.size, mailbox.receipts]
            assert box not in kept, f"totals of {session.user} are kept though it has a session"
            expected = totals.get(box, [0, 0, 0]) if mailbox.is_counted else [0, 0, 0]
            assert count_ == expected, f"{session.user} is counted {count_}"
            assert list(session.receipts) == sorted(set(session.receipts)), "receipts in order"
            assert not session.receipts or session.receipts[-1] <= cursor, "receipts sent"
            assert session.sent_before <= cursor, "entries were sent before, yet come again"
            assert not session.receipts or session.receipts[0] > session.sent_before, "the later"
            if session.state is ReaderState.LIVE:
                assert last.get(box, 0) <= cursor, f"{session.user} is live, yet mail waits"
            self._uncounted.discard(session.user)
        for box, total in totals.items():
            user = box[2:].partition(b"\0")[0].decode()
            if box in kept:
                self._uncounted.discard(user)
                assert _counts(kept[box]) == total, f"{user} is counted {_counts(kept[box])}"
                assert box not in unfindable, f"receipts of absent {user} cannot be found"
            elif box not in present and user not in self.shard._mailboxes._leaving:
                assert user in self._uncounted, f"nothing counts the mailbox of {user}"
        assert set(kept) <= set(totals), "totals of an empty mailbox"
        self._uncounted &= {box[2:].partition(b"\0")[0].decode() for box in totals}
        if mail:
            highest = unpack_seq(self.tree("meta")[b"seq"])
            assert max(last.values()) <= highest, "an entry beyond the last seq"


def _counts(raw: bytes) -> list[int]:
    return [int.from_bytes(raw[a:b], "big") for a, b in ((0, 4), (4, 12), (12, 16))]


# ---------------------------------------------------------------------------------- many shards


class _Client:
    """A session as its front sees it: what it must announce to a worker's next incarnation."""

    def __init__(self, user: str, phase: int, cursor: int) -> None:
        self.user = user
        self.phase = phase
        self.cursor = cursor
        self.is_paused = False


class ClusterHarness:
    """The shards of one relay, their links, and what the fronts know."""

    def __init__(
        self,
        directory: Path,
        *,
        workers: int = 1,
        settings: Settings = SETTINGS,
        groups: Mapping[str, Group] | None = None,
        registry: Registry = NO_EXTENSIONS,
    ) -> None:
        self.now_ms = NOW_S * 1000
        self.story: list[str] = []
        self.sent: dict[Identity, list[ToFront]] = {}  # by the last call, to each front
        self._clients: dict[tuple[Identity, int], _Client] = {}
        # On the way from one shard to another, with the incarnations at both ends.
        self._links: dict[tuple[int, int], deque[tuple[Identity, Durable | StrayAck]]] = {}
        self._answers: deque[tuple[int, Identity, Applied]] = deque()
        self._cut: set[frozenset[int]] = set()
        self.shards = [
            ShardHarness(
                directory / f"worker-{index}", index, workers, settings, groups or {}, registry
            )
            for index in range(workers)
        ]
        for one in self.shards:
            for other in self.shards:
                if one is not other:
                    self._connect(one, other.index)

    # ------------------------------------------------------------------------------ for tests

    @property
    def shard(self) -> Shard:
        """The shard of a cluster of one."""
        (only,) = self.shards
        return only.shard

    def owner(self, local: str) -> ShardHarness:
        """Return the shard that serves a user or group."""
        slots = shard_ranges(len(self.shards))
        return next(each for each in self.shards if slot_of(local) in slots[each.index])

    def mail(self, user: str) -> list[tuple[int, bytes]]:
        return self.owner(user).mail(user)

    def counters(self) -> Counter[str]:
        return sum((each.shard.counters for each in self.shards), Counter())

    def feed(self, *envelopes: ToWorker, front: Identity = FRONT) -> list[ToFront]:
        """Give envelopes of one front to their owners, one batch each; return what fronts get."""
        self.sent = {}
        for index, items in self._by_owner(front, envelopes).items():
            self._turn(self.shards[index], partial(_handle, front=front, items=items))
        self.settle()
        return self._all_sent()

    def decide(self, decide: Callable[[Shard], object], *, worker: int = 0) -> list[ToFront]:
        """Run one batch of `worker` that consists of what `decide` does."""
        self.sent = {}
        self._turn(self.shards[worker], decide)
        self.settle()
        return self._all_sent()

    def login(self, user: str, session: int, *, front: Identity = FRONT) -> list[Entry]:
        """Log in and read the queue to its end; return its entries."""
        answer = self.feed(plain.open_session(session, user, LOGIN, 0), front=front)
        assert SessionOpened(session) in answer, f"no login: {answer}"
        entries: list[Entry] = []
        pages = 0
        while True:
            (page,) = [
                item for item in answer if isinstance(item, Page) and item.session == session
            ]
            pages += 1
            entries += page.entries
            if not page.more:
                return entries
            answer = self.feed(
                plain.ready(session, self._clients[front, session].cursor, pages), front=front
            )

    def sweep(self, *, max_boxes: int = 100) -> None:
        """Let every shard sweep until it has come round."""
        for each in self.shards:
            each.fold_in()
            at = b""
            while True:
                swept: list[bytes] = []
                after = at

                def decide(shard: Shard, after: bytes = after, to: list[bytes] = swept) -> None:
                    to.append(shard.sweep(after, max_boxes=max_boxes, day_ms=self.now_ms))

                self._turn(each, decide)
                at = swept[0]
                if not at:
                    break

    # ----------------------------------------------------------------------- faults and repair

    def kill(
        self, worker: int, *lost: ToWorker, front: Identity = FRONT, committed: bool = False
    ) -> None:
        """End a worker: while it decided on `lost`, or after that but before it said so."""
        harness = self.shards[worker]
        items = self._by_owner(front, lost)
        assert set(items) <= {worker}, "an envelope for another worker"
        if lost:
            harness.turn(
                lambda shard: _handle(shard, front, items[worker]),
                now_ms=self.now_ms,
                commit=committed,
            )
        if harness.is_up:
            harness.stop()
        self.story.append(f"worker {worker} is killed")
        self._answers = deque(a for a in self._answers if a[0] != worker)
        for other in self.shards:
            if other is not harness:
                self._links.pop((worker, other.index), None)
                self._links.pop((other.index, worker), None)
                if other.is_up:
                    other.shard.peer_lost(worker)

    def start(self, worker: int, *, announce: bool = True) -> list[ToFront]:
        """Start the next incarnation; fronts announce their sessions to it, if they live."""
        harness = self.shards[worker]
        self.sent = {}
        harness.start()
        self.story.append(f"worker {worker} starts")
        for other in self.shards:
            if other is not harness and other.is_up and not self._is_cut(worker, other.index):
                self._connect(harness, other.index)
                self._connect(other, worker)
        if announce:
            for (front, number), client in list(self._clients.items()):
                if self.owner(client.user) is harness:
                    opened = plain.open_session(number, client.user, client.phase, client.cursor)
                    items: list[ToWorker] = [opened]
                    if client.is_paused:
                        items.append(plain.pause(number, client.cursor))
                    self._turn(harness, partial(_handle, front=front, items=items))
        else:
            for key, client in list(self._clients.items()):
                if self.owner(client.user) is harness:
                    del self._clients[key]
        self.settle()
        return self._all_sent()

    def restart(
        self,
        worker: int = 0,
        *lost: ToWorker,
        committed: bool = False,
        announce: bool = True,
        front: Identity = FRONT,
    ) -> list[ToFront]:
        """Kill and start a worker; see there."""
        self.kill(worker, *lost, committed=committed, front=front)
        return self.start(worker, announce=announce)

    def cut(self, one: int, other: int) -> None:
        """Lose the connection between two workers and what is on it."""
        self._cut.add(frozenset((one, other)))
        for a, b in ((one, other), (other, one)):
            self._links.pop((a, b), None)
            self.shards[a].shard.peer_lost(b)

    def join(self, one: int, other: int) -> list[ToFront]:
        """Connect two workers again."""
        self.sent = {}
        self._cut.discard(frozenset((one, other)))
        self._connect(self.shards[one], other)
        self._connect(self.shards[other], one)
        self.settle()
        return self._all_sent()

    def lose_front(self, front: Identity = FRONT) -> list[ToFront]:
        """Let every worker learn that a front died."""
        self.sent = {}
        for key in [key for key in self._clients if key[0] == front]:
            del self._clients[key]
        for each in self.shards:
            left = [True]

            def decide(shard: Shard, left: list[bool] = left) -> None:
                left[0] = not shard.front_lost(front)

            while left[0]:
                self._turn(each, decide)
        self.settle()
        return self._all_sent()

    def close(self) -> None:
        for each in self.shards:
            if each.is_up:
                each.stop()

    # -------------------------------------------------------------------------------- inside

    def _by_owner(
        self, front: Identity, envelopes: Iterable[ToWorker]
    ) -> dict[int, list[ToWorker]]:
        items: dict[int, list[ToWorker]] = {}
        for envelope in envelopes:
            items.setdefault(self._owner_of(front, envelope), []).append(envelope)
        return items

    def _owner_of(self, front: Identity, envelope: ToWorker) -> int:
        match envelope:
            case OpenSession():
                client = _Client(envelope.user, envelope.phase, envelope.cursor)
                self._clients[front, envelope.session] = client
                local = envelope.user
            case SendToUser() | SendToGroup():
                local = envelope.chat
            case Acked():
                local = envelope.acker
            case AckedByMany():
                (local,) = {self.owner(acker).index: acker for acker in envelope.ackers}.values()
            case Ask():
                local = envelope.user
            case CloseSession() | Pause() | Ready() | Confirmed():
                client = self._clients[front, envelope.session]
                local = client.user
                if isinstance(envelope, CloseSession):
                    del self._clients[front, envelope.session]
                elif isinstance(envelope, Pause):
                    client.is_paused = True
                elif isinstance(envelope, Ready):
                    client.is_paused = False
                    client.cursor = envelope.cursor
            case _:
                raise AssertionError(f"no front sends {envelope}")
        return self.owner(local).index

    def _turn(self, harness: ShardHarness, decide: Callable[[Shard], object]) -> None:
        try:
            effects = harness.turn(decide, now_ms=self.now_ms)
        except AssertionError as error:
            error.add_note("\n".join(["the story:", *self.story]))
            raise
        for front, items in effects.to_fronts.items():
            self.sent.setdefault(front, []).extend(items)
            for item in items:
                self.story.append(f"worker {harness.index} -> {front.decode()}: {item}")
                self._note(front, item)
        for peer, entries in effects.to_peers.items():
            link = self._links.get((harness.index, peer))
            if link is not None:
                link.extend((harness.identity, entry) for entry in entries)
        for origin, applied in effects.applied.items():
            self._answers.append((harness.index, origin, applied))

    def settle(self) -> None:
        """Carry what shards say to each other until nobody says anything."""
        while True:
            if self._answers:
                sender, origin, applied = self._answers.popleft()
                receiver = next((s for s in self.shards if s.identity == origin), None)
                if receiver is not None and receiver.is_up:
                    self._turn(receiver, partial(_applied, sender=sender, applied=applied))
                continue
            way = next((way for way, link in self._links.items() if link), None)
            if way is None:
                return
            sender, peer = way
            items = list(self._links[way])
            self._links[way].clear()
            self._turn(self.shards[peer], partial(_take, peer=sender, items=items))

    def _connect(self, harness: ShardHarness, peer: int) -> None:
        self._links[harness.index, peer] = deque()
        self._turn(harness, lambda shard: shard.peer_connected(peer))

    def _is_cut(self, one: int, other: int) -> bool:
        return frozenset((one, other)) in self._cut

    def _note(self, front: Identity, item: ToFront) -> None:
        match item:
            case SessionOpened():
                self._clients[front, item.session].phase = QUEUE
            case SessionRefused() | EndSession():
                self._clients.pop((front, item.session), None)
            case Page():
                client = self._clients[front, item.session]
                if item.entries:
                    client.cursor = item.entries[-1].seq
                if item.last:
                    client.phase = LIVE
            case Deliver() | DeliverReceipts():
                self._delivered(front, item.session, item.seq)
            case DeliverToMany():
                for number in item.sessions:
                    self._delivered(front, number, item.seq)
            case _:
                pass

    def _delivered(self, front: Identity, number: int, seq: int) -> None:
        client = self._clients[front, number]
        if seq and not client.is_paused:
            client.cursor = seq

    def _all_sent(self) -> list[ToFront]:
        return [item for items in self.sent.values() for item in items]


class Clusters(Protocol):
    """Starts one more relay, with the options of `ClusterHarness`."""

    def __call__(
        self,
        *,
        workers: int = 1,
        settings: Settings = SETTINGS,
        groups: Mapping[str, Group] | None = None,
        registry: Registry = NO_EXTENSIONS,
    ) -> ClusterHarness: ...


def _handle(shard: Shard, front: Identity, items: Sequence[ToWorker]) -> None:
    for item in items:
        shard.handle(front, item)


def _applied(shard: Shard, sender: int, applied: Applied) -> None:
    shard.applied(sender, applied)


def _take(shard: Shard, peer: int, items: Sequence[tuple[Identity, Any]]) -> None:
    for origin, item in items:
        if isinstance(item, Durable):
            shard.apply(origin, peer, item)
        else:
            shard.handle(origin, item)


def pages_of(answer: list[ToFront], session: int = 1) -> list[Page]:
    """Return the pages that one session gets, in order."""
    return [item for item in answer if isinstance(item, Page) and item.session == session]


def frames_of(items: Iterable[ToFront], session: int) -> list[bytes]:
    """Return the frames that one session gets, in order, however they come."""
    frames: list[bytes] = []
    for item in items:
        match item:
            case Page(session=number) if number == session:
                frames += [entry.frame for entry in item.entries]
            case Deliver(session=number) if number == session:
                frames.append(item.frame)
            case DeliverReceipts(session=number) if number == session:
                frames += item.frames
            case DeliverToMany() if session in item.sessions:
                frames.append(item.frame)
            case _:
                pass
    return frames
