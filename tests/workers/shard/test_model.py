"""Clients, fronts and workers in one process, without sockets, against a model of what must hold.

The fronts' sessions and the shards are the real ones; what lies between them, links with batches in
flight, is simulated, so that everything may happen at any moment: slow clients, takeovers, full
links, workers killed before or after a commit, fronts killed, connections between workers lost. A
client sees only frames. At the end everything is repaired, and nothing may be missing or left over.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from relay.bus.envelopes import (
    Applied,
    Deliver,
    DeliverToMany,
    Durable,
    EndSession,
    FrontBatch,
    Page,
    Refused,
    SendToGroup,
    SendToUser,
    Seq,
    SessionOpened,
    Stored,
    StrayAck,
    ToFront,
    ToWorker,
    WorkerBatch,
    encode,
)
from relay.bus.link import Incoming, Outgoing
from relay.front.session import Session
from relay.protocol.codec import Codec
from relay.protocol.slots import SLOT_COUNT, shard_ranges, slot_of
from tests.workers.shard.harness import NOW_S, ShardHarness, group_of, local_of, settings_with
from workers import inbox
from workers.fronts import FrontLink
from workers.inbox import Inbox, Received
from workers.shard import logins, messages
from workers.shard.effects import Effects, Identity
from workers.shard.messages import Known
from workers.shard.shard import Shard

# Small enough that pages, full links and pauses happen all the time.
SETTINGS = settings_with(
    flow={"page_bytes": 400, "link_bytes": 900, "q_frame_bytes": 1500},
    auth={"max_takeovers": 1_000_000},
)
# Two users on one worker and one on each of the others, however many there are.
USERS = [
    *(local_of(worker, workers=3, prefix="user") for worker in range(3)),
    local_of(0, workers=3, prefix="other"),
]
GROUP = "917069852821-1566557065"
FRONTS = 2
SHRINKING_S = 600  # a failure takes its time to become a small one
MANY = 1_000_000
Fate = Literal["goes on", "dies before the commit", "dies after the commit"]


class KeyKind(NamedTuple):
    """What a message is known by; `chat` is its recipient or its group."""

    author: str
    chat: str
    message_id: str


class Accepted(NamedTuple):
    """A message that was committed; `order` grows with each that one worker committed."""

    text: str
    recipients: frozenset[str]
    time_s: int
    order: int


class Client:
    """One connection of a user, and what its client checks of every frame that comes."""

    def __init__(self, world: World, front: Front, user: str) -> None:
        self.world = world
        self.front = front
        self.user = user
        self.is_open = True
        self.is_slow = False
        self.pinged = 0  # what a pong to the last ping confirms
        self.session = Session(front.next_number(), Codec(SETTINGS.limits), SETTINGS)
        self.unanswered: deque[str] = deque()  # ids of sends, in order
        self.repeats: set[str] = set()
        self._begin_login()

    def _begin_login(self) -> None:
        self.has_queue = self.has_live = False
        self.seen: list[KeyKind] = []  # since this login
        self.acked: set[KeyKind] = set()  # since this login
        self._order: dict[tuple[str, str], int] = {}
        self._levels: dict[tuple[KeyKind, str], int] = {}

    # ------------------------------------------------------------- what its session wants done

    def take(self) -> None:
        """Do what the session wants done, as its connection does."""
        out = self.session.out
        for frame in out.frames:
            self._write(frame)
        out.frames.clear()
        for slot, envelope, durable in out.envelopes or ():
            if isinstance(envelope, SendToUser | SendToGroup):
                self.world.requests[self.front.identity, envelope.request] = envelope
            link = self.front.links[self.world.owner_of_slot[slot]]
            link.request(envelope, durable=durable)
        out.envelopes = None
        if out.told:
            link = self.front.links[self.world.owner_of_slot[self.session.login.slot]]
            link.tell_when_done(self.session.number, out.told)
            out.told = 0
        if out.closing is not None:
            self.is_open, out.closing = False, None
        if out.notes:
            out.take_notes()
            self.session.go_on(self.world.now_ms)
            self.take()

    def _write(self, frame: bytes) -> None:
        assert self.is_open, "a frame behind the close"
        tag, *rest = json.loads(frame)
        if tag not in ("auth", "q"):
            self.has_live = self.has_queue
        getattr(self, f"_on_{tag}")(*rest)

    # ----------------------------------------------------------------------------- what it does

    def send(self, *stanza: object) -> None:
        self.session.receive(json.dumps(stanza).encode(), now_ms=self.world.now_ms)
        self.take()

    def stop_reading(self) -> None:
        self.is_slow = True
        self.session.deliveries.slowed()
        self.take()

    def read_on(self) -> None:
        self.is_slow = False
        self.session.deliveries.drained()
        self.take()

    def pong(self) -> None:
        """Answer the last ping."""
        self.session.deliveries.confirmed(Seq(self.pinged))
        self.take()

    def is_pinged(self) -> None:
        self.pinged = self.session.deliveries.written

    def log_in(self) -> None:
        self.send("auth", {"type": "new"}, {"remoteJid": f"{self.user}@s.whatsapp.net"})

    def send_message(self, chat: str, message_id: str, text: str) -> None:
        domain = "g.us" if chat == GROUP else "s.whatsapp.com"
        key = {"fromMe": True, "id": message_id, "remoteJid": f"{chat}@{domain}"}
        element = {"key": key, "message": {"conversation": text}, "messageTimestamp": str(NOW_S)}
        if self.is_live:
            self.unanswered.append(message_id)
            self.send("action", {"add": "relay"}, [element])

    def ack(self, key: KeyKind, level: int) -> None:
        body = {"id": key.message_id, "ack": level, "cmd": "ack", "from": f"{key.author}@c.us"}
        if key.chat == GROUP:
            self.send("MsgInfo", body | {"to": f"{GROUP}@g.us", "participant": "x@c.us"})
        else:
            self.send("Msg", body | {"to": f"{self.user}@c.us"})

    @property
    def is_live(self) -> bool:
        return self.is_open and self.has_queue

    # ----------------------------------------------------------------------------- what it gets

    def _on_auth(self, body: dict[str, Any]) -> None:
        assert body == {"from": "backend", "status": "success"}
        self._begin_login()

    def _on_q(self, body: dict[str, Any]) -> None:
        assert not self.has_live, "a q behind a live frame"
        waited = json.loads(body["data"])[1:]
        assert self.has_queue is (self.has_queue and bool(waited)), "a q of many is empty"
        self.has_queue = True
        for tag, *rest in waited:
            getattr(self, f"_on_{tag}")(*rest)

    def _on_action(self, attributes: dict[str, Any], elements: list[dict[str, Any]]) -> None:
        (element,) = elements
        remote, _, domain = element["key"]["remoteJid"].partition("@")
        if domain == "g.us":
            author, chat = element["participant"].partition("@")[0], remote
        else:
            author, chat = remote, self.user
        key = KeyKind(author, chat, element["key"]["id"])
        accepted = self.world.accepted.get(key)
        assert accepted is not None, f"{key} is delivered but was never committed"
        assert self.user in accepted.recipients, f"{key} is not for {self.user}"
        assert element["message"] == {"conversation": accepted.text}
        assert key not in self.seen, f"{key} is delivered twice to one session"
        # All of a group's messages have one order; others that of their author in the chat.
        line = ("", chat) if chat == GROUP else (author, chat)
        assert accepted.order > self._order.get(line, -1), f"{key} comes too late"
        self._order[line] = accepted.order
        self.seen.append(key)
        self.world.delivered[self.user].add(key)

    def _on_Msg(self, body: dict[str, Any]) -> None:
        author = body["from"].partition("@")[0]
        assert author == self.user, "about someone else's message"
        key = KeyKind(self.user, body["to"].partition("@")[0], body["id"])
        if body["ack"] > 1:
            self._told(key, key.chat, body["ack"])
            return
        accepted = self.world.accepted.get(key)
        assert accepted is not None, f"{key} is acked but was never committed"
        assert body["t"] == accepted.time_s
        assert self.unanswered.popleft() == key.message_id, "answers out of order"

    def _on_MsgInfo(self, body: dict[str, Any]) -> None:
        key = KeyKind(self.user, body["to"].partition("@")[0], body["id"])
        assert body["from"].partition("@")[0] == self.user
        self._told(key, body["participant"].partition("@")[0], body["ack"])

    def _told(self, key: KeyKind, acker: str, level: int) -> None:
        # A repeat may wait behind a login while the first send's receipts are in the queue.
        repeated = key.message_id in self.repeats
        assert repeated or key.message_id not in self.unanswered, "a receipt before the ack 1"
        assert level <= self.world.said[key, acker], f"{acker} never said {level} of {key}"
        known = self._levels.get((key, acker), 0)
        assert level > known, f"{acker} is told at {level} of {key}, after {known}"
        self._levels[key, acker] = level
        told = self.world.told
        told[key, acker] = max(told[key, acker], level)

    def _on_error(self, body: dict[str, Any]) -> None:
        assert body["code"] in (403, 409), body
        assert self.unanswered.popleft() == body["id"], "answers out of order"

    def _on_Cmd(self, body: dict[str, Any]) -> None:
        assert body["kind"] == "replaced"


class Link:
    """A front's link with the worker of one shard, as in relay.front.links, without a socket."""

    def __init__(self, world: World, front: Front, worker: int) -> None:
        self._world = world
        self._front = front
        self._worker = worker
        self._incoming = Incoming()
        self._outgoing: Outgoing[ToWorker] = Outgoing(SETTINGS.flow.link_bytes)
        self._items: list[ToWorker] = []
        self._kept: list[ToWorker | None] = []
        # (batch, session, units): whom to tell when that batch is confirmed.
        self._to_be_told: list[tuple[int, int, int]] = []
        self._incarnation = 0  # 0: it is away
        self.to_front: deque[FrontBatch] = deque()

    def request(self, envelope: ToWorker, *, durable: bool) -> None:
        self._items.append(envelope)
        self._kept.append(envelope if durable else None)

    def tell_when_done(self, session: int, units: int) -> None:
        self._to_be_told.append((self._last_batch, session, units))

    @property
    def _last_batch(self) -> int:
        return self._outgoing.next_number - (not self._items)

    def connect(self, incarnation: int) -> None:
        repeated = [
            item for item in (*self._outgoing.unconfirmed(), *self._kept) if item is not None
        ]
        self._items, self._kept = [], []
        self._outgoing.restart()
        self._incoming.restart()
        self.to_front.clear()
        self._incarnation = incarnation
        for client in self._front.clients.values():
            login = client.session.login
            if login.has_worker and self._world.owner_of_slot[login.slot] == self._worker:
                client.session.announce()
                client.take()
        self.flush()
        self._items, self._kept = list(repeated), list(repeated)
        last = self._last_batch
        self._to_be_told = [(last, session, units) for _, session, units in self._to_be_told]
        self.flush()

    def disconnect(self) -> None:
        self._incarnation = 0
        self.to_front.clear()

    def flush(self) -> None:
        """End the front's loop turn."""
        items, kept = self._items, tuple(self._kept)
        if self._incarnation == 0:
            items = [item for item in kept if item is not None]
            kept = tuple(items)
        if not items and not self._incoming.owes(SETTINGS.flow.link_bytes // 8):
            return
        self._items, self._kept = [], []
        batch = WorkerBatch(
            self._incarnation,
            self._outgoing.next_number,
            self._incoming.report(),
            len(items),
            items,
        )
        self._outgoing.sent(len(encode(batch)) if items else 0, kept)
        if self._incarnation:
            inbox = self._world.places[self._worker].from_fronts
            inbox[self._front.identity].append(batch)

    def read(self) -> None:
        """Take the next batch that the worker sent."""
        if not self.to_front:
            return
        batch = self.to_front.popleft()
        assert self._incoming.accept(batch.number, len(encode(batch)))
        self._outgoing.confirm(batch.received, batch.begun)
        due = [told for told in self._to_be_told if told[0] <= batch.received]
        self._to_be_told = [told for told in self._to_be_told if told[0] > batch.received]
        for _, session, units in due:
            self._front.work_done(session, units)
        self._front.receive(batch)


class Front:
    """A front process: its sessions by number, and its links."""

    def __init__(self, world: World, index: int, incarnation: int) -> None:
        self.identity: Identity = b"front-%d-%d" % (index, incarnation)
        self.clients: dict[int, Client] = {}
        self.links = [Link(world, self, worker) for worker in range(len(world.places))]
        self._world = world
        self._last_number = 0

    def next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def receive(self, batch: FrontBatch) -> None:
        for item in batch.items:
            if isinstance(item, DeliverToMany):
                for number in item.sessions:
                    self._tell(number, Deliver(number, item.seq, "", item.frame))
            elif isinstance(item, Stored | Refused):
                self._tell(item.request >> 32, item)
            else:
                self._tell(item.session, item)

    def work_done(self, number: int, units: int) -> None:
        client = self.clients.get(number)
        if client is not None:
            client.session.work_done(units, now_ms=self._world.now_ms)
            client.take()

    def _tell(self, number: int, item: ToFront) -> None:
        client = self.clients.get(number)
        if client is None:
            return
        session, now_ms = client.session, self._world.now_ms
        match item:
            case Stored():
                session.stored(item.request, item.time_s)
            case Refused():
                session.send_refused(item.request, item.code, item.reason)
            case Deliver():
                session.deliveries.deliver(item.seq, item.receipt_for, item.frame)
            case Page():
                session.page(item, now_ms=now_ms)
            case SessionOpened():
                session.opened(now_ms=now_ms)
            case EndSession():
                session.ended_elsewhere()
            case _:
                raise AssertionError(f"not for these sessions: {item}")
        client.take()

    def flush(self) -> None:
        for number, client in list(self.clients.items()):
            if not client.is_open:
                del self.clients[number]
        for link in self.links:
            link.flush()


class Place:
    """A worker process: a shard, and what lies in its sockets."""

    def __init__(self, harness: ShardHarness) -> None:
        self.harness = harness
        self.forget()

    def forget(self) -> None:
        """Lose what only the process knew."""
        self.from_fronts: defaultdict[Identity, deque[WorkerBatch]] = defaultdict(deque)
        self.from_peers: defaultdict[Identity, deque[Durable | StrayAck]] = defaultdict(deque)
        self.answers: deque[tuple[int, Applied]] = deque()
        self.inbox = Inbox()
        self.links: dict[Identity, FrontLink] = {}
        self.lost_fronts: set[Identity] = set()  # it has been told, but has not acted on it
        self.dead_fronts: set[Identity] = set()
        self.new_peers: set[int] = set()


class World(RuleBasedStateMachine):
    """Everything there is, and the model of what was committed, said and told."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="relay-model-"))
        self.patches = pytest.MonkeyPatch()
        self.patches.setattr(logins, "MAX_ENDED", 1)  # so that a front's end takes several turns
        self.patches.setattr(inbox, "PIECE", 1)  # so that a batch can be cut anywhere
        self.now_ms = NOW_S * 1000
        self.accepted: dict[KeyKind, Accepted] = {}
        self.delivered: defaultdict[str, set[KeyKind]] = defaultdict(set)
        # The highest level that an acker ever said of a message, and that its author was told.
        self.said: defaultdict[tuple[KeyKind, str], int] = defaultdict(int)
        self.told: defaultdict[tuple[KeyKind, str], int] = defaultdict(int)
        self.requests: dict[tuple[Identity, int], SendToUser | SendToGroup] = {}
        self.sends: list[tuple[KeyKind, str]] = []
        self.clients: dict[str, Client] = {}  # the connection that each user uses
        self.members = frozenset(USERS[:3])
        self._last_request: dict[tuple[Identity, int, str], int] = {}
        self._last_id = 0
        self._incarnation = 0
        self.places: list[Place] = []
        self.fronts: list[Front] = []

    @initialize(workers=st.integers(1, 3))
    def begin(self, workers: int) -> None:
        slots = shard_ranges(workers)
        self.owner_of_slot = [
            next(worker for worker in range(workers) if slot in slots[worker])
            for slot in range(SLOT_COUNT)
        ]
        groups = group_of(GROUP, *sorted(self.members))
        self.places = [
            Place(ShardHarness(self.directory / str(index), index, workers, SETTINGS, groups))
            for index in range(workers)
        ]
        for place in self.places:
            place.new_peers = set(range(workers)) - {place.harness.index}
        for index in range(FRONTS):
            self.fronts.append(self._new_front(index))
        for index, user in enumerate(USERS):
            self._log_in(user, self.fronts[index % FRONTS])
        self._go_on("wf" * 3)

    def _new_front(self, index: int) -> Front:
        self._incarnation += 1
        front = Front(self, index, self._incarnation)
        for worker, place in enumerate(self.places):
            if place.harness.is_up:
                front.links[worker].connect(place.harness.incarnation)
        return front

    def _log_in(self, user: str, front: Front) -> None:
        client = Client(self, front, user)
        front.clients[client.session.number] = client
        self.clients[user] = client
        client.log_in()

    # ------------------------------------------------------------------------------- clients

    # What the processes do after each step, so that much is in flight all the time: `w` each
    # worker turns, `f` each front reads, a little.
    then = st.sampled_from(["", "", "w", "f", "wf", "wf", "wwf", "wfwf", "wwww", "ffff", "wfwfwf"])
    user = st.sampled_from(USERS)

    def _go_on(self, then: str, *, take: int = 2) -> None:
        """End the fronts' loop turn, and do `then`."""
        self._tick()
        for step in then:
            if step == "w":
                for worker in range(len(self.places)):
                    self._turn(worker, take, "goes on")
            else:
                for front in self.fronts:
                    for link in front.links:
                        link.read()
            self._tick()

    def _tick(self) -> None:
        self.now_ms += 1
        for front in self.fronts:
            front.flush()

    @rule(
        author=user,
        chat=st.sampled_from([*USERS, GROUP, GROUP, GROUP]),
        count=st.integers(1, 6),
        then=then,
    )
    def send(self, author: str, chat: str, count: int, then: str) -> None:
        client = self.clients[author]
        for _ in range(count if client.is_live else 0):
            self._last_id += 1
            key, text = KeyKind(author, chat, f"M{self._last_id}"), "x" * (self._last_id * 37 % 300)
            self.sends.append((key, text))
            client.send_message(chat, key.message_id, text)
        self._go_on(then)

    @rule(data=st.data(), conflicts=st.booleans(), then=then)
    def repeat(self, data: st.DataObject, conflicts: bool, then: str) -> None:
        sends = [
            (key, text)
            for key, text in self.sends[-10:]
            if self.clients[key.author].is_live
            and key.message_id not in self.clients[key.author].unanswered
        ]
        if sends:
            key, text = data.draw(st.sampled_from(sends))
            # A conflict is only one with what is committed; before that it would be the message.
            if conflicts and key in self.accepted:
                text += "!"
            self.clients[key.author].repeats.add(key.message_id)
            self.clients[key.author].send_message(key.chat, key.message_id, text)
        self._go_on(then)

    @rule(user=user, skip=st.integers(0, 3), level=st.integers(2, 4), then=then)
    def ack(self, user: str, skip: int, level: int, then: str) -> None:
        """Of the messages since the login, but for the first few."""
        client = self.clients[user]
        for key in client.seen[skip : skip + 6] if client.is_live else ():
            self._ack(client, key, level)
        self._go_on(then)

    @rule(user=user, level=st.integers(2, 4), then=then)
    def ack_the_latest(self, user: str, level: int, then: str) -> None:
        client = self.clients[user]
        for key in client.seen[-3:] if client.is_live else ():
            self._ack(client, key, level)
        self._go_on(then)

    def _ack(self, client: Client, key: KeyKind, level: int) -> None:
        self.said[key, client.user] = max(self.said[key, client.user], level)
        client.acked.add(key)
        client.ack(key, level)

    @rule(user=user, then=then)
    def forge_acks(self, user: str, then: str) -> None:
        """Of messages that are known but were for others: their authors never hear of it."""
        client = self.clients[user]
        for key in list(self.accepted)[-3:] if client.is_live else ():
            if user not in self.accepted[key].recipients:
                client.ack(key, 4)
        self._go_on(then)

    @rule(user=user, front=st.integers(0, FRONTS - 1), then=then)
    def log_in(self, user: str, front: int, then: str) -> None:
        """From elsewhere; if the user is logged in this is a takeover."""
        self._log_in(user, self.fronts[front])
        self._go_on(then)

    @rule(user=user, then=then)
    def log_in_again(self, user: str, then: str) -> None:
        """On the same connection."""
        if self.clients[user].is_live:
            self.clients[user].log_in()
        self._go_on(then)

    @rule(user=user, then=then)
    def lose_connection(self, user: str, then: str) -> None:
        client = self.clients[user]
        if client.is_open:
            client.session.lost()
            client.take()
            client.is_open = False
        self._go_on(then)

    @rule(user=user, then=then)
    def stop_reading_or_read_on(self, user: str, then: str) -> None:
        client = self.clients[user]
        if client.is_open:
            if client.is_slow:
                client.read_on()
            else:
                client.stop_reading()
        self._go_on(then)

    @rule(user=user, then=then)
    def ping_and_take_the_last_pong(self, user: str, then: str) -> None:
        client = self.clients[user]
        if client.is_open:
            client.pong()
            client.is_pinged()
        self._go_on(then)

    @rule(user=user)
    def change_membership(self, user: str) -> None:
        self.members ^= {user}
        groups = group_of(GROUP, *sorted(self.members))
        for place in self.places:
            place.harness.groups = groups
            place.harness.shard.provision(groups)

    # ------------------------------------------------------------------------------- processes

    worker = st.integers(0, 2)

    # What one turn decides: some pieces, or all.
    pieces = st.sampled_from([1, 2, 5, MANY])

    @rule(worker=worker, take=st.integers(1, 4), pieces=pieces)
    def a_worker_turns(self, worker: int, take: int, pieces: int) -> None:
        self._turn(worker % len(self.places), take, "goes on", pieces)

    @rule(front=st.integers(0, FRONTS - 1), worker=worker, count=st.integers(1, 3))
    def a_front_reads(self, front: int, worker: int, count: int) -> None:
        for _ in range(count):
            self.fronts[front].links[worker % len(self.places)].read()
        self._tick()

    @rule()
    def all_go_on(self) -> None:
        for worker in range(len(self.places)):
            self._start(worker)
        self._go_on("wf" * 5, take=10)

    @rule(
        worker=worker,
        fate=st.sampled_from(["dies before the commit", "dies after the commit"]),
        pieces=pieces,
        starts=st.booleans(),
        then=then,
    )
    def a_worker_dies(self, worker: int, fate: Fate, pieces: int, starts: bool, then: str) -> None:
        self._turn(worker % len(self.places), 10, fate, pieces)
        if starts:
            self._start(worker % len(self.places))
        self._go_on(then)

    @rule(one=worker, other=worker, then=then)
    def two_workers_lose_their_connection(self, one: int, other: int, then: str) -> None:
        pair = [self.places[index % len(self.places)] for index in (one, other)]
        if pair[0] is not pair[1] and all(place.harness.is_up for place in pair):
            for place, peer in (pair, reversed(pair)):
                place.from_peers.pop(peer.harness.identity, None)
                place.harness.shard.peer_lost(peer.harness.index)
                place.new_peers.add(peer.harness.index)
        self._go_on(then)

    @rule(index=st.integers(0, FRONTS - 1), then=then)
    def a_front_dies(self, index: int, then: str) -> None:
        front = self.fronts[index]
        for client in front.clients.values():
            client.is_open = False
        self.fronts[index] = self._new_front(index)
        for user, client in list(self.clients.items()):
            if client.front is front:
                self._log_in(user, self.fronts[index])
        self._go_on(then)

    @rule(worker=worker)
    def a_worker_hears_of_dead_fronts(self, worker: int) -> None:
        place = self.places[worker % len(self.places)]
        living = {front.identity for front in self.fronts}
        for identity in set(place.links) - living:
            place.lost_fronts.add(identity)

    def _turn(self, worker: int, take: int, fate: Fate, pieces: int = MANY) -> None:
        """One turn of a worker's loop, with up to `take` batches from everyone.

        It decides on so many `pieces` of what waits.
        """
        place = self.places[worker]
        harness = place.harness
        if not harness.is_up:
            return
        lost, place.lost_fronts = place.lost_fronts, set()
        for identity in lost:
            place.dead_fronts.add(identity)
            place.links.pop(identity, None)
            place.inbox.forget(identity)
        heard: set[Identity] = set()
        roomy: set[Identity] = set()
        place.inbox.add(list(self._received(place, take, roomy)))
        new_peers = {peer for peer in place.new_peers if self.places[peer].harness.is_up}
        place.new_peers -= new_peers

        def decide(shard: Shard) -> None:
            place.lost_fronts |= {each for each in lost if not shard.front_lost(each)}
            for identity in roomy:
                shard.front_has_room(identity)
            for peer in new_peers:
                shard.peer_connected(peer)
            left = pieces
            while place.inbox and left:
                left -= 1
                decide_on(shard, place.inbox.take())

        def decide_on(shard: Shard, piece: Received) -> None:
            for item in piece.items:
                if isinstance(item, Durable):
                    assert piece.peer is not None
                    shard.apply(piece.origin, piece.peer, item)
                else:
                    shard.handle(piece.origin, item)
            for applied in piece.applied:
                assert piece.peer is not None
                shard.applied(piece.peer, applied)
            if piece.peer is None:
                heard.add(piece.origin)
                place.links[piece.origin].decide(piece.number, len(piece.items), piece.ends)

        effects = harness.turn(decide, now_ms=self.now_ms, commit=fate != "dies before the commit")
        if fate != "dies before the commit":
            self._learn(effects)
        if fate == "goes on":
            self._carry(place, effects, heard)
        else:
            self._die(place)

    def _received(self, place: Place, take: int, roomy: set[Identity]) -> Iterator[Received]:
        for origin, batches in place.from_fronts.items():
            for _ in range(min(take, len(batches))):
                batch = batches.popleft()
                if batch.incarnation != place.harness.incarnation or origin in place.dead_fronts:
                    continue
                link = place.links.setdefault(origin, FrontLink(SETTINGS.flow.link_bytes))
                assert link.accept(batch.number, 0, is_empty=not batch.items)
                was_full = link.outgoing.is_full
                link.outgoing.confirm(batch.received)
                if was_full and not link.outgoing.is_full:
                    roomy.add(origin)
                if batch.items:
                    yield Received(origin, None, batch.items, number=batch.number)
        for origin, entries in place.from_peers.items():
            taken = [entries.popleft() for _ in range(min(take, len(entries)))]
            yield Received(origin, int(origin.split(b"-")[1]), taken)
        while place.answers:
            peer, applied = place.answers.popleft()
            yield Received(b"", peer, (), [applied])

    def _record(self, key: KeyKind, recipient: str = "") -> Known:
        """Return what the store has of a message: towards its chat, or one recipient of it."""
        owner = self.owner_of_slot[slot_of(recipient or key.chat)]
        batch = self.places[owner].harness.store.begin()
        if key.chat == GROUP:
            record = messages.find(batch, key.message_id, key.author, recipient, GROUP)
        else:
            record = messages.find(batch, key.message_id, key.author, key.chat)
        batch.abort()
        assert record is not None, f"nothing is known of {key} towards {recipient or key.chat}"
        return record

    def _learn(self, effects: Effects) -> None:
        """Note what a commit has made true."""
        for front, items in effects.to_fronts.items():
            for item in items:
                if not isinstance(item, Stored | Refused):
                    continue
                send = self.requests[front, item.request]
                key = KeyKind(send.author, send.chat, send.message_id)
                text = json.loads(send.frame)[2][0]["message"]["conversation"]
                known = self.accepted.get(key)
                if isinstance(item, Refused) and known is None:
                    assert item.code == 403, item
                    assert send.chat == GROUP
                    assert send.author not in self.members
                    continue
                if isinstance(item, Refused):
                    assert known is not None
                    assert (item.code, known.text == text) == (409, False), item
                    continue
                if known is not None:
                    assert (known.text, known.time_s) == (text, item.time_s)
                    continue
                line = (front, item.request >> 32, send.chat)
                assert item.request > self._last_request.get(line, 0), "sends out of order"
                self._last_request[line] = item.request
                recipients = self.members - {send.author} if send.chat == GROUP else {send.chat}
                self.accepted[key] = Accepted(
                    text, frozenset(recipients), item.time_s, self._record(key).seq
                )

    def _carry(self, place: Place, effects: Effects, heard: set[Identity]) -> None:
        """Put what a worker has to say on its way."""
        harness = place.harness
        fronts = {front.identity: front for front in self.fronts}
        for identity in heard:
            effects.to_fronts[identity]
        for identity, items in effects.to_fronts.items():
            link = place.links.get(identity)
            if link is None:
                continue
            if identity not in fronts:
                place.lost_fronts.add(identity)
                continue
            outgoing = link.outgoing
            batch = FrontBatch(outgoing.next_number, link.decided, list(items), link.begun)
            outgoing.sent(len(encode(batch)))
            fronts[identity].links[harness.index].to_front.append(batch)
            if outgoing.is_full:
                harness.shard.front_full(identity)
        for peer, entries in effects.to_peers.items():
            if self.places[peer].harness.is_up:
                self.places[peer].from_peers[harness.identity].extend(entries)
        for origin, applied in effects.applied.items():
            sender = self.places[int(origin.split(b"-")[1])]
            if sender.harness.is_up and sender.harness.identity == origin:
                sender.answers.append((harness.index, applied))

    def _die(self, place: Place) -> None:
        if place.harness.is_up:
            place.harness.stop()
        place.forget()
        for front in self.fronts:
            front.links[place.harness.index].disconnect()
        for other in self.places:
            if other.harness.is_up:
                other.harness.shard.peer_lost(place.harness.index)
                other.new_peers.discard(place.harness.index)

    def _start(self, worker: int) -> None:
        place = self.places[worker]
        if place.harness.is_up:
            return
        place.harness.start()
        place.new_peers = set(range(len(self.places))) - {worker}
        for other in self.places:
            if other is not place and other.harness.is_up:
                other.new_peers.add(worker)
        for front in self.fronts:
            front.links[worker].connect(place.harness.incarnation)

    # ------------------------------------------------------------------------------- the end

    @rule()
    def all_is_repaired(self) -> None:
        """Every worker runs, every user reads, acks and confirms: nothing is missing or left."""
        for _ in range(1000):
            self._repair()
            if self._is_quiet():
                break
        else:
            raise AssertionError("it never comes to rest")
        for key, accepted in self.accepted.items():
            for recipient in accepted.recipients:
                assert key in self.delivered[recipient], f"{key} never reached {recipient}"
                level = self._record(key, recipient).level
                assert self.told[key, recipient] == level, f"{recipient} is at {level} of {key}"
        for place in self.places:
            for tree in ("mail", "boxes", "bodies", "holders", "receipts", "outbox"):
                assert place.harness.tree(tree) == {}, f"{tree} of {place.harness.index}"

    def _repair(self) -> None:
        for worker in range(len(self.places)):
            self._start(worker)
            self.a_worker_hears_of_dead_fronts(worker)
        for user, client in list(self.clients.items()):
            if not client.is_open:
                self._log_in(user, self.fronts[0])
                continue
            if client.is_slow:
                client.read_on()
            if client.is_live:
                for key in client.seen:
                    if key not in client.acked:
                        self._ack(client, key, max(2, self.said[key, user]))
                client.is_pinged()
                client.pong()
        self._tick()
        for worker in range(len(self.places)):
            self._turn(worker, 100, "goes on")
        for front in self.fronts:
            for link in front.links:
                while link.to_front:
                    link.read()
        self._tick()

    def _is_quiet(self) -> bool:
        return (
            all(not place.harness.tree("mail") for place in self.places)
            and all(not place.harness.tree("outbox") for place in self.places)
            and all(client.is_live and not client.unanswered for client in self.clients.values())
        )

    def teardown(self) -> None:
        try:
            if self.places and sys.exc_info()[0] is None:
                self.all_is_repaired()
        finally:
            self.patches.undo()
            for place in self.places:
                if place.harness.is_up:
                    place.harness.stop()
            shutil.rmtree(self.directory)


def test_the_users_are_spread_over_the_workers() -> None:
    slots = shard_ranges(3)
    owners = [next(w for w in range(3) if slot_of(user) in slots[w]) for user in USERS]

    assert owners == [0, 1, 2, 0]


class Step(NamedTuple):
    """One thing that happens to a slow reader, and what the processes do then."""

    what: Literal["sends", "sends to itself", "slow or not", "acks", "pong", "turn", "read"]
    many: int
    then: str


STEPS = st.builds(
    Step,
    st.sampled_from(
        [
            *["sends", "sends to itself"] * 2,
            *["slow or not"] * 4,
            *["acks", "pong", "turn", "read"],
        ]
    ),
    st.integers(1, 3),
    st.sampled_from(["", "", "w", "f", "wf", "ww"]),
)


@pytest.mark.timeout(SHRINKING_S)
@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, min_size=60, max_size=60))
@pytest.mark.slow
def test_a_slow_reader_behind_a_full_link_misses_nothing(steps: list[Step]) -> None:
    """Pauses, pages and a link without credit cross each other in every way."""
    world = World()
    try:
        world.begin(workers=1)
        writer, reader = USERS[:2]
        for what, many, then in steps:
            match what:
                case "sends":
                    world.send(author=writer, chat=reader, count=many, then=then)
                case "sends to itself":
                    world.send(author=reader, chat=reader, count=many, then=then)
                case "slow or not":
                    world.stop_reading_or_read_on(user=reader, then=then)
                case "acks":
                    world.ack(user=reader, skip=many - 1, level=many + 1, then=then)
                case "pong":
                    world.ping_and_take_the_last_pong(user=reader, then=then)
                case "turn":
                    world.a_worker_turns(worker=0, take=many, pieces=many)
                case "read":
                    world.a_front_reads(front=1, worker=0, count=many)
                case _:
                    assert_never(what)
    finally:
        world.teardown()


TestWorld = pytest.mark.slow(pytest.mark.timeout(SHRINKING_S)(World.TestCase))
TestWorld.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, print_blob=True
)
