"""Each sabotage does what its name says, and a run finds it: what a chaos run proves, it can."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import zmq

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    NO_SEQ,
    Durable,
    GroupCopy,
    Receipt,
    RequestNumber,
    SendToUser,
    Seq,
    ToWorker,
    WorkerBatch,
)
from relay.bus.sockets import bind_router, connect_dealer
from relay.bus.topology import Topology, WorkerAddress
from relay.front.links import Links
from relay.process.channel import child_end, supervisor_end
from relay.process.control import Stop
from relay.process.place import Place
from relay.protocol.slots import SLOT_COUNT, ShardMap, Slot
from relay.settings.tables import ServerSettings, Settings, StoreSettings
from tests import plain
from tests.outside.processes import REPOSITORY
from workers import loop
from workers.shard.outbox import Outbox
from workers.shard.shard import Shard
from workers.store.batch import Batch
from workers.store.keys import box_of, pack_peer
from workers.store.store import Store
from workers.tools.reshard import reshard

from . import run as chaos_run
from .fleet import Fleet
from .run import Options, Run
from .sabotage import NAMES, NAMES_OF_MANY_HOSTS, VARIABLE, Patch, agent, front, owner, worker

DEADLINE_MS = 10_000
FRONT = b"front-0-2"
ALICE, BOB, GROUP = "917069852821", "919428284313", "917069852821-1566557065"
PEER = 1

Sabotage = Callable[[Patch], None]


def nothing(patch: Patch) -> None:
    """Leave everything as it is."""


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Batch]:
    store = Store(tmp_path, durability="os", map_bytes=1 << 24, max_map_bytes=1 << 24)
    batch = store.begin()
    yield batch
    batch.abort()
    store.close()


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory for sockets, whose paths are bounded."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        yield Path(directory)


@pytest.mark.parametrize(("sabotage", "kept"), [(nothing, [7]), (worker.no_outbox, [])])
def test_without_an_outbox_an_entry_is_sent_but_not_kept(
    sabotage: Sabotage, kept: list[int], batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    outbox = Outbox(PEER, max_bytes=1 << 20)
    outbox.connected()
    outbox.send_more(batch, lambda entry: None)

    sent: list[Durable] = []
    outbox.put(batch, Seq(7), Receipt(ALICE, "", "M", BOB, 2, 1000), sent.append)

    assert [entry.seq for entry in sent] == [7]
    assert [seq for seq, _ in batch.scan_outgoing(pack_peer(PEER), after=NO_SEQ)] == kept


@pytest.mark.parametrize(("sabotage", "times"), [(nothing, 1), (worker.no_dedupe, 2)])
def test_without_dedupe_a_repeat_is_stored_again(
    sabotage: Sabotage, times: int, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    shard = Shard(0, ShardMap(1), Settings())
    shard.begin(batch, now_ms=1)
    send = SendToUser(RequestNumber(1), ALICE, BOB, "M", 1000, bytes(8), b"a frame")
    copy = GroupCopy(ALICE, GROUP, "M", 1000, [BOB], b"a frame")

    for _ in range(2):
        shard.handle(FRONT, send)
        shard.take_over(copy)

    assert len(list(batch.scan_mail(box_of(BOB)))) == 2 * times


@pytest.mark.of_source
@pytest.mark.parametrize(("sabotage", "repeated"), [(nothing, True), (front.no_replay, False)])
def test_without_replay_a_successor_does_not_get_what_was_unconfirmed(
    sabotage: Sabotage, repeated: bool, short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    lost = SendToUser(RequestNumber(1), ALICE, BOB, "LOST", 1000, bytes(8), b"a frame")
    new = SendToUser(RequestNumber(2), ALICE, BOB, "NEW", 1000, bytes(8), b"a frame")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    endpoints = [f"ipc://{short_directory}/{name}" for name in ("first", "second")]
    routers = [bind_router(context, endpoint) for endpoint in endpoints]

    def topology(incarnation: int) -> Topology:
        endpoint = endpoints[incarnation]
        address = WorkerAddress(0, 0, SLOT_COUNT - 1, endpoint, incarnation)
        return Topology(epoch=incarnation, workers=(address,))

    async def talk() -> None:
        bus = Links(
            FRONT.decode(),
            loop=asyncio.get_running_loop(),
            max_link_bytes=1 << 20,
            receive=lambda items, ends_s: True,
            announce=lambda link: None,
            has_room=lambda link: None,
        )
        try:
            bus.follow(topology(0))
            bus.link_of(Slot(0)).request(lost, durable=True)
            bus.link_of(Slot(0)).flush()
            bus.follow(topology(1))
            bus.link_of(Slot(0)).request(new, durable=True)
            bus.link_of(Slot(0)).flush()
            while new not in got:
                assert routers[1].poll(DEADLINE_MS), f"only {got} came"
                _, payload = routers[1].recv_multipart()
                got.extend(envelopes.decode_worker_batch(payload).items)
        finally:
            bus.close()

    got: list[ToWorker] = []
    try:
        asyncio.run(talk())
    finally:
        for router in routers:
            router.close()
        context.term()
    assert got == ([lost, new] if repeated else [new])


@pytest.mark.of_source
@pytest.mark.parametrize(
    ("sabotage", "order"),
    [(nothing, ["commit", "send"]), (worker.early_ack, ["send", "commit"])],
)
def test_an_early_ack_leaves_before_the_commit(
    sabotage: Sabotage, order: list[str], short_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    monkeypatch.setattr(loop, "settle", lambda: None)  # it tunes the whole process
    settings = Settings(
        server=ServerSettings(data=str(short_directory / "data"), workers=1),
        store=StoreSettings(durability="os", map_bytes=1 << 24),
    )
    (short_directory / "data").mkdir()
    reshard(short_directory / "data", settings)
    ours, theirs = socket.socketpair()
    supervisor, control = supervisor_end(ours), child_end(theirs.detach())
    served = loop.Worker(Place(short_directory, 0, 1, settings, control))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = connect_dealer(context, served._links.endpoint, identity=FRONT.decode())
    done: list[str] = []
    commit = Batch.commit

    def commit_and_note(batch: Batch) -> None:
        commit(batch)
        done.append("commit")

    def send(receiver: bytes, payload: bytes) -> bool:
        done.append("send")
        return True

    monkeypatch.setattr(Batch, "commit", commit_and_note)
    monkeypatch.setattr(served._links, "_route", send)

    dealer.send(envelopes.encode(WorkerBatch(1, 1, 0, 1, [plain.open_session(1, ALICE, LOGIN, 0)])))
    assert served._links._router.poll(DEADLINE_MS)
    supervisor.send(Stop(1.0))
    served.run()

    dealer.close()
    context.term()
    supervisor.close()
    control.close()
    assert done == order


@pytest.mark.ordeal
@pytest.mark.timeout(150)
def test_a_run_finds_that_workers_keep_nothing_for_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # What is missing is missing for good, and the run would wait for it; so may what is left over.
    monkeypatch.setattr(chaos_run, "CALM_S", 2.0)
    monkeypatch.setattr(chaos_run, "DRAIN_S", 10.0)
    # With this seed the six kills all strike workers.
    options = Options(
        seconds=6, seed=168, users=24, groups=4, rate=80, kills_per_minute=60, sabotage="no-outbox"
    )

    outcome = asyncio.run(Run(options, lambda line: None).go())

    kinds = {each.kind for each in outcome.violations}
    assert "lost" in kinds, outcome.lines
    assert outcome.exit_code == 1


@pytest.mark.ordeal
@pytest.mark.parametrize("name", list(NAMES))
def test_every_worker_and_front_of_a_sabotaged_relay_says_so(
    name: str, short_directory: Path
) -> None:
    fleet = Fleet(
        workers=2,
        fronts=1,
        reshards=False,
        config="",
        groups={},
        random=Random(1),
        sabotage=name,
        keep=short_directory / "kept",
        now_s=time.monotonic,
    )

    async def start_and_stop() -> None:
        try:
            await fleet.start()
            assert await fleet.stop() == []
        finally:
            fleet.close()

    asyncio.run(start_and_stop())

    events = [json.loads(line) for line in fleet.log_path.read_text().splitlines()]
    said = [event for event in events if event["event"] == "process.sabotaged"]
    assert {event["process"] for event in said} == {"worker-0", "worker-1", "front-0"}
    assert {(event["level"], event["sabotage"]) for event in said} == {("warning", name)}


@pytest.mark.ordeal
@pytest.mark.parametrize("name", ["", "no-such"])
def test_a_sabotaged_relay_that_is_not_told_how_does_not_start(name: str) -> None:
    environment = {**os.environ, VARIABLE: name}
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.sabotage.supervisor", "--port", "0"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_MS / 1000,
    )

    assert done.returncode != 0
    assert done.stdout == ""
    assert VARIABLE in done.stderr


def test_every_sabotage_is_somebodys() -> None:
    of_workers = {*worker.SABOTAGES, *owner.SABOTAGES}

    assert {*worker.SABOTAGES, *front.SABOTAGES} == set(NAMES)
    assert {*of_workers, *agent.SABOTAGES} >= set(NAMES_OF_MANY_HOSTS)


def test_the_relay_that_people_run_cannot_be_sabotaged() -> None:
    sources = [*REPOSITORY.glob("relay/**/*.py"), *REPOSITORY.glob("workers/**/*.py")]
    sources += [REPOSITORY / "supervisor.py", *REPOSITORY.glob("config/*")]

    assert [path for path in sources if "sabotage" in path.read_text().lower()] == []
