"""A range on two hosts, with real processes and a real log: who owns it may go at any time."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from relay.cluster.jetstream import get_batch, last_record, purge, stream_info
from relay.cluster.natswire import Wire
from relay.disk.layout import read_layout
from relay.errors import RelayError
from relay.process.control import ChildReady, LogLost, Promote
from relay.process.exitcodes import CANNOT_BOOT, FENCED, LOG_LOST_DATA
from tests.cluster import engines as real_engines
from tests.cluster.engines import Engines
from tests.outside.waiting import poll_for
from tests.workers.log.foreign import of_kind
from tests.workers.range_harness import (
    PlayedAgent,
    PlayedFront,
    RangeWorker,
    create_log,
    settings_of,
)
from workers.log.record import decode
from workers.standby import GATHER_S
from workers.store.journal import OF_JOURNAL
from workers.store.snapshot import Snapshot

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

# It gives up after seven tenths of that; on a busy machine its end takes a second or two.
STOP_S = 10.0

_clusters = itertools.count(1)
Start = Callable[[str], RangeWorker]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    with pytest.MonkeyPatch.context() as patch:
        # As the setting allows one.
        patch.setattr(real_engines, "PASSWORD", "it-is-said-to-nobody-else")
        with Engines(tmp_path_factory.mktemp("engines")) as engines:
            yield engines


@pytest.fixture
def wire(engines: Engines) -> Iterator[Wire]:
    wire = engines.wire()
    yield wire
    wire.close()


@pytest.fixture
def cluster(engines: Engines) -> str:
    """A cluster of its own for each test."""
    name = f"t{next(_clusters)}"
    create_log(engines, name)
    return name


@pytest.fixture
def in_flight() -> int:
    """How many records of the owner may be on their way, where a test says nothing else."""
    return 1


SOME_IN_FLIGHT = pytest.mark.parametrize("in_flight", [1, 4])


@pytest.fixture
def start(engines: Engines, cluster: str, run_dir: Path, in_flight: int) -> Iterator[Start]:
    """Start the worker of the range on a host; a second time is its next life."""
    started: list[RangeWorker] = []

    def start(host: str) -> RangeWorker:
        directory = run_dir / host
        directory.mkdir(exist_ok=True)
        settings = settings_of(
            engines, directory / "data", cluster=cluster, host=host, in_flight=in_flight
        )
        started.append(RangeWorker(directory, settings, incarnation=len(started) + 1))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def front() -> Iterator[PlayedFront]:
    with PlayedFront("front-a-0-1000") as front:
        yield front


def serve(worker: RangeWorker, ready: ChildReady, front: PlayedFront) -> None:
    """Have the front go over to an owner."""
    worker.list_fronts(front.name)
    front.connect(ready, worker.life(ready))


def store_of(directory: Path) -> Path:
    """Return where the store of a host is."""
    return read_layout(directory / "data").store_directory(directory / "data", 0)


def last_number(directory: Path) -> int:
    snapshot = Snapshot(store_of(directory))
    try:
        return snapshot.last.number
    finally:
        snapshot.close()


def sleeps_of(worker: RangeWorker) -> int:
    """Return how often a worker's loop has had nothing to do."""
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    return int(status.rpartition("\nvoluntary_ctxt_switches:")[2].split()[0])


def trees(directory: Path) -> dict[str, dict[bytes, bytes]]:
    """Return what the store of a host holds, but for what it says of itself."""
    snapshot = Snapshot(store_of(directory))
    held = {row.name: dict(snapshot.items(row.name)) for row in snapshot.rows}
    snapshot.close()
    for name in OF_JOURNAL:
        held["meta"].pop(name, None)
    return held


def assert_nothing_is_lost(front: PlayedFront) -> None:
    """All that was acked is in the mailbox, once and in order."""
    ids = front.read_mailbox()
    assert ids == sorted(set(ids), key=lambda each: int(each.removeprefix("id-")))
    assert set(front.acked) <= set(ids)


@SOME_IN_FLIGHT
def test_a_standby_goes_on_where_a_killed_owner_was(
    start: Start, front: PlayedFront, run_dir: Path
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    ready = a.promote()
    assert ready.epoch == 1
    serve(a, ready, front)

    front.send_until_acked(500)
    front.send(20)
    a.kill()
    ready = b.promote()
    serve(b, ready, front)
    front.send_until_acked(200)
    front.settle()

    assert ready.epoch > 1
    assert_nothing_is_lost(front)
    again = start("a")
    assert b.stop() == 0
    again.stand(last_number(run_dir / "b"))
    assert again.stop() == 0
    assert trees(run_dir / "a") == trees(run_dir / "b")
    for host in ("a", "b"):
        checked = subprocess.run(
            [sys.executable, "-m", "workers.store", "check", run_dir / host / "data"]
        )
        assert checked.returncode == 0


def test_a_batch_that_is_too_large_for_a_message_is_taken_over_whole(
    wire: Wire, cluster: str, start: Start, front: PlayedFront, run_dir: Path
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.frame_bytes = 64_000
    front.send(100)
    front.settle()
    last = last_record(wire, f"{cluster}-0", 5.0)
    assert last is not None
    b.stand(last.sequence)
    records = get_batch(wire, f"{cluster}-0", 1, 100, 64 << 20, 5.0)
    assert any(decode(each.payload).body.startswith(b"\xc1\x01") for each in records)

    a.kill()
    serve(b, b.promote(), front)

    assert_nothing_is_lost(front)


def test_engines_that_take_less_get_records_in_more_parts(
    run_dir: Path, front: PlayedFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an operator's own NATS does, whose max_payload is 1 MiB if nobody has said otherwise."""
    monkeypatch.setattr(real_engines, "PASSWORD", "it-is-said-to-nobody-else")
    (run_dir / "e").mkdir()
    with ExitStack() as stack:
        engines = stack.enter_context(Engines(run_dir / "e", max_payload=1 << 20))
        create_log(engines, "small")
        workers = []
        for number, host in enumerate("ab", 1):
            directory = run_dir / host
            directory.mkdir()
            settings = settings_of(engines, directory / "data", cluster="small", host=host)
            workers.append(RangeWorker(directory, settings, incarnation=number))
            stack.callback(workers[-1].close)
            workers[-1].stand()
        a, b = workers
        serve(a, a.promote(), front)
        front.frame_bytes = 64_000
        front.send(100)
        front.settle()
        wire = engines.wire()
        stack.callback(wire.close)
        last = last_record(wire, "small-0", 5.0)
        assert last is not None
        b.stand(last.sequence)
        records = get_batch(wire, "small-0", 1, 100, 64 << 20, 5.0)
        assert any(decode(each.payload).body.startswith(b"\xc1\x01") for each in records)

        a.kill()
        serve(b, b.promote(), front)

        assert_nothing_is_lost(front)
        assert "connection" not in b.log()


@pytest.mark.parametrize("in_flight", [4])
@pytest.mark.parametrize("wakes", [False, True], ids=["killed", "frozen"])
def test_records_on_their_way_when_the_owner_goes_are_there_once_or_never(
    engines: Engines, cluster: str, start: Start, front: PlayedFront, run_dir: Path, wakes: bool
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(100)
    front.settle()
    for engine in (0, 1):  # what remains stores nothing, and refuses nothing
        engines.freeze(engine)
    try:
        for _ in range(12):  # batches: some in records on their way, and some behind them
            front.send(3)
            assert front.receive(0.05) == []
        if wakes:
            a.freeze()
        else:
            a.kill()
    finally:
        for engine in (0, 1):
            engines.thaw(engine)

    ready = b.promote()
    if wakes:
        a.thaw()
        assert a.exit_code() == FENCED
        while front.receive(0.5):
            pass  # what was confirmed before its end it may say
    serve(b, ready, front)
    front.send_until_acked(50)
    front.settle()

    assert_nothing_is_lost(front)
    assert b.stop() == 0
    again = start("a")
    again.stand(last_number(run_dir / "b"))
    assert again.stop() == 0
    assert trees(run_dir / "a") == trees(run_dir / "b")
    poll_for("all engines are there", lambda: is_whole(engines, cluster), deadline_s=60)


@SOME_IN_FLIGHT
def test_an_owner_that_slept_through_its_end_says_nothing_any_more(
    start: Start, front: PlayedFront
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(50)
    a.freeze()
    front.send(10)  # it finds them when it wakes

    ready = b.promote()
    a.thaw()

    assert a.exit_code() == FENCED
    assert front.receive(0.5) == []
    serve(b, ready, front)
    front.settle()
    assert_nothing_is_lost(front)


def test_an_owner_without_work_notices_that_it_is_none(start: Start) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    a.promote()

    b.promote()

    assert a.exit_code() == FENCED


@SOME_IN_FLIGHT
def test_a_planned_move_is_short_and_the_heir_needs_nobody_to_tell_it(
    start: Start, front: PlayedFront
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(100)
    front.send(10)

    a.hand_over("b")
    begun_s = time.monotonic()
    ready = b.hear(ChildReady)
    took_s = time.monotonic() - begun_s

    assert took_s < 1.0
    assert a.exit_code() == 0
    serve(b, ready, front)
    front.settle()
    assert_nothing_is_lost(front)
    again = start("a")
    again.stand(ready.epoch)


def test_a_standby_lets_records_gather_and_lacks_none(
    start: Start, front: PlayedFront, run_dir: Path
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(5)
    b.stand(last_number(run_dir / "a"))
    began_s, slept, first = time.monotonic(), sleeps_of(b), last_number(run_dir / "a")

    for _ in range(150):  # a record each
        front.send()
        front.settle()

    took_s, slept = time.monotonic() - began_s, sleeps_of(b) - slept
    b.stand(last := last_number(run_dir / "a"))
    assert last - first >= 150
    # Each turn sleeps once or twice: while it rests, and where nothing has come by then.
    assert slept <= 2 * took_s / GATHER_S + 10, f"{last - first} records in {took_s:.1f} s"


def test_a_move_to_a_third_host_is_not_taken_up_by_a_second(start: Start) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    a.promote()
    a.hand_over("c")
    assert a.exit_code() == 0
    c = start("c")

    ready = c.hear(ChildReady)

    assert ready.epoch > 1
    b.stand(ready.epoch)


@SOME_IN_FLIGHT
def test_while_the_leader_of_the_log_is_elected_the_owner_lives_and_acks_wait(
    engines: Engines, cluster: str, start: Start, front: PlayedFront
) -> None:
    a = start("a")
    a.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(50)
    leader = leader_of(engines, cluster)
    a.listen()
    a.heartbeats.clear()

    engines.kill(leader)
    try:
        begun_s = time.monotonic()
        front.send_until_acked(100, meanwhile=a.listen)
        assert time.monotonic() - begun_s < 20
    finally:
        engines.start(leader)

    a.listen()
    beats = [begun_s, *a.heartbeats, time.monotonic()]
    assert max(later - earlier for earlier, later in itertools.pairwise(beats)) < 3.0
    front.settle()
    assert_nothing_is_lost(front)
    poll_for("all engines are there", lambda: is_whole(engines, cluster), deadline_s=60)


@SOME_IN_FLIGHT
def test_without_a_majority_nothing_is_acked_and_an_owner_can_be_stopped(
    engines: Engines, cluster: str, start: Start, front: PlayedFront
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(50)
    engines.kill(0)
    engines.kill(1)
    try:
        front.send(5)
        assert front.receive(2.0) == []
        begun_s = time.monotonic()
        assert a.stop(within_s=STOP_S) == 0
        assert time.monotonic() - begun_s < STOP_S
    finally:
        engines.start(0)
        engines.start(1)

    poll_for("all engines are there", lambda: is_whole(engines, cluster), deadline_s=60)
    ready = b.promote()
    serve(b, ready, front)
    front.settle()
    assert_nothing_is_lost(front)


def test_a_store_that_is_damaged_is_begun_anew(
    start: Start, front: PlayedFront, run_dir: Path
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(50)
    b.kill()
    store = store_of(run_dir / "b")
    (store / "data.mdb").write_bytes(b"no store")

    b = start("b")
    b.stand(2)
    a.kill()
    serve(b, b.promote(), front)

    front.settle()
    assert_nothing_is_lost(front)
    assert store.with_name("unusable-worker-0").exists()


def test_a_log_that_has_another_record_than_the_store_stops_the_worker(
    engines: Engines, wire: Wire, cluster: str, start: Start, front: PlayedFront
) -> None:
    """As where somebody has emptied all engines, and a host without a store began anew."""
    a = start("a")
    a.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(20)
    assert a.stop() == 0
    wire.request(f"$JS.API.STREAM.DELETE.{cluster}-0", timeout_s=5.0)
    create_log(engines, cluster)
    b = start("b")
    b.stand()
    with PlayedFront("front-b-0-1000") as another:
        serve(b, b.promote(), another)
        another.send_until_acked(200)

    a = start("a")

    a.hear(LogLost)  # before its channel closes
    assert a.exit_code() == LOG_LOST_DATA
    assert "the log has lost records" in a.log()


def test_a_standby_stops_before_a_record_of_a_later_version_and_owns_nothing(
    wire: Wire, cluster: str, start: Start, front: PlayedFront, run_dir: Path
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    ready = a.promote()
    serve(a, ready, front)
    front.send_until_acked(20)
    assert a.stop() == 0
    last = stream_info(wire, f"{cluster}-0", 5.0).state.last_seq
    wire.request(f"{cluster}.log.0", of_kind(9, ready.epoch), timeout_s=5.0)

    assert b.exit_code() == CANNOT_BOOT
    b = start("b")
    b.say(Promote())

    assert b.exit_code() == CANNOT_BOOT  # not skipped in the next life either
    assert last_number(run_dir / "b") == last
    assert b.log().count("of kind 9, which this version does not know") == 2
    assert "Traceback" not in b.log()


def test_a_store_that_is_older_than_its_log_is_replaced_by_a_copy(
    wire: Wire, cluster: str, start: Start, front: PlayedFront, run_dir: Path
) -> None:
    a, b = start("a"), start("b")
    a.stand()
    b.stand()
    serve(a, a.promote(), front)
    front.send_until_acked(50)
    b.kill()
    front.send_until_acked(200)
    last = last_record(wire, f"{cluster}-0", 5.0)
    assert last is not None
    purge(wire, f"{cluster}-0", last.sequence - 20, 5.0)

    b = start("b")
    with PlayedAgent(wire, cluster, "a", store_of(run_dir / "a"), run_dir / "copies") as agent:
        b.stand(last.sequence, meanwhile=agent.answer)
    assert "store.fetched" in b.log()
    a.kill()
    serve(b, b.promote(), front)

    front.settle()
    assert_nothing_is_lost(front)


def leader_of(engines: Engines, cluster: str) -> int:

    wire = engines.wire()
    try:
        return engines.index_of(stream_info(wire, f"{cluster}-0", 5.0).cluster.leader)
    finally:
        wire.close()


def is_whole(engines: Engines, cluster: str) -> bool:

    try:
        wire = engines.wire()
        try:
            return stream_info(wire, f"{cluster}-0", 2.0).is_whole
        finally:
            wire.close()
    except (RelayError, TimeoutError):
        return False
