"""Whom an admin can ask: the processes of its host, and by their admins those of others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from relay.admin.asker import Asker, Process, Seat, Silence
from relay.bus.topology import Topology, WorkerAddress
from relay.inquiries.contract import Answered, encode
from relay.inquiries.largest import AskSenders, SendersSeen, Sending
from relay.settings.tables import ServerSettings, Settings
from tests.abroad import cluster_settings


def asked(settings: Settings, topology: Topology, run_dir: Path) -> dict[Seat, Process | None]:
    """Who is asked in each seat, by an admin with those settings."""

    async def ask() -> dict[Seat, Process | None]:
        asker = Asker(settings, run_dir, asyncio.get_running_loop())
        try:
            asker.follow(topology)
            return {seat: asker.who_is(seat) for seat in asker.seats}
        finally:
            asker.close()

    return asyncio.run(ask())


def test_without_a_cluster_everybody_is_asked(tmp_path: Path) -> None:
    topology = Topology(
        epoch=1,
        workers=(WorkerAddress(0, 0, 4095, "ipc:///w.sock", 3),),
        fronts=("front-0-4", "front-0-9"),
    )
    worker, front = Seat("worker", 0), Seat("front", 0)

    assert asked(Settings(server=ServerSettings(workers=1, fronts=1)), topology, tmp_path) == {
        worker: Process(worker, 3),
        front: Process(front, 9),
    }


def test_in_a_cluster_those_of_this_host_are_by_the_numbers_of_their_processes(
    tmp_path: Path,
) -> None:
    """What a worker is called on the bus is its epoch, which its socket does not have."""
    settings = Settings(server=ServerSettings(workers=2, fronts=1), cluster=cluster_settings("a"))
    topology = Topology(
        epoch=1,
        workers=(
            WorkerAddress(0, 0, 2047, "ipc:///w.sock", 900, "a", "tcp://10.0.0.1:9100", 17),
            WorkerAddress(1, 2048, 4095, "ipc:///w.sock", 901, "b", "tcp://10.0.0.2:9100", 18),
        ),
        fronts=("front-a-0-16", "front-b-0-99"),
    )

    assert asked(settings, topology, tmp_path) == {
        Seat("worker", 0): Process(Seat("worker", 0), 17),
        Seat("front", 0): Process(Seat("front", 0), 16),
    }


TOPOLOGY = Topology(
    epoch=1,
    workers=(
        WorkerAddress(0, 0, 1023, "ipc:///w.sock", 900, "a", "tcp://10.0.0.1:9100", 17),
        WorkerAddress(1, 1024, 2047, "", 901, "b", "tcp://10.0.0.2:9100"),
        WorkerAddress(3, 3072, 4095, "", 902, "b", "tcp://10.0.0.2:9101"),
    ),
    fronts=("front-a-0-16", "front-b-0-99", "front-b-1-98"),
)


# What is no answer either: a name that is no UTF-8, and what is nested too deeply.
NO_TEXT = b"\x81\xa7senders\x91\x82\xa4user\xa2\xff\xfe\xa5per_s\x01"
DEEP = b"\x82\xa7senders\x90\xa4news" + b"\x91" * 100_000 + b"\xc0"


class Played:
    """The other hosts, of which some are away."""

    def __init__(self, away: str = "") -> None:
        self.away = away
        self.body = b""
        self.asked: list[tuple[Seat, str]] = []

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    async def ask(self, seat: Seat, name: str, body: bytes, by_s: float) -> Answered:
        self.asked.append((seat, name))
        if seat.host == self.away:
            return Answered(0, code=500, reason="it is not there")
        if self.body:
            return Answered(0, msgspec.Raw(self.body))
        found = SendersSeen([Sending(f"{seat.role}{seat.index}{seat.host}", 1.0)])
        return Answered(0, msgspec.Raw(encode(found)))

    async def ask_agent(self, host: str, payload: bytes, by_s: float) -> bytes | Silence:
        raise AssertionError("it is not asked here")


def with_asker(work: Callable[[Asker], Awaitable[None]], run_dir: Path, others: Played) -> None:
    """Do something with an asker of host `a`, of four ranges, that has heard of `TOPOLOGY`."""
    server = ServerSettings(workers=4, fronts=1)
    settings = Settings(server=server, cluster=cluster_settings("a"))

    async def run() -> None:
        asker = Asker(settings, run_dir, asyncio.get_running_loop(), others)
        try:
            asker.follow(TOPOLOGY)
            await work(asker)
        finally:
            asker.close()

    asyncio.run(run())


def test_everywhere_are_those_of_all_hosts_and_each_range_once(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        assert list(asker.seats) == [Seat("worker", 0), Seat("front", 0)]
        assert asker.everywhere("front") == [
            Seat("front", 0),
            Seat("front", 0, "b"),
            Seat("front", 1, "b"),
        ]
        # Range 2 is nobody's just now.
        found = [Seat("worker", 0), Seat("worker", 1, "b"), Seat("worker", 3, "b")]
        assert asker.everywhere("worker") == [*found, Seat("worker", 2)]
        assert asker.owner_of_range(3) == Seat("worker", 3, "b")
        assert asker.owner_of_range(2) == Seat("worker", 2)
        assert asker.seat_of("front-b-1-98.2") == Seat("front", 1, "b")
        assert asker.seat_of("front-a-0-16") == Seat("front", 0)
        assert asker.is_standby(Seat("worker", 1))
        assert not asker.is_standby(Seat("worker", 0))

    with_asker(work, tmp_path, Played())


def test_who_is_on_another_host_is_asked_there(tmp_path: Path) -> None:
    others = Played()

    async def work(asker: Asker) -> None:
        seat = Seat("front", 1, "b")
        assert await asker.ask(seat, AskSenders(1)) == SendersSeen([Sending("front1b", 1.0)])
        assert others.asked == [(seat, "senders")]

    with_asker(work, tmp_path, others)


@pytest.mark.parametrize("body", [b"\xc1", NO_TEXT, DEEP])
def test_an_answer_that_cannot_be_read_is_none(tmp_path: Path, body: bytes) -> None:
    others = Played()
    others.body = body

    async def work(asker: Asker) -> None:
        said = await asker.ask(Seat("front", 1, "b"), AskSenders(1))
        assert isinstance(said, Silence)
        assert "of another version" in said.reason

    with_asker(work, tmp_path, others)


def test_who_does_not_answer_is_named_with_its_host_and_so_is_a_host_that_is_not_heard(
    tmp_path: Path,
) -> None:
    async def work(asker: Asker) -> None:
        now_s = asyncio.get_running_loop().time()
        heard, silent = await asker.ask_all(
            "front", AskSenders(1), deadline_s=now_s, everywhere=True
        )
        assert heard == {}
        assert [str(each) for each in silent] == [
            "host c",
            "front 0 of a",
            "front 0 of b",
            "front 1 of b",
        ]

    with_asker(work, tmp_path, Played(away="b"))


def test_of_a_range_without_an_owner_it_is_said(tmp_path: Path) -> None:
    async def work(asker: Asker) -> None:
        reason = "its range has no owner there just now: ask again"
        asked = await asker.ask(Seat("worker", 2), AskSenders(1))
        assert asked == Silence("worker", 2, reason, "a")

    with_asker(work, tmp_path, Played())


def test_a_silence_of_a_relay_on_one_host_is_told_as_ever() -> None:
    silence = Silence("front", 1, "it has ended")

    assert msgspec.json.encode(silence) == b'{"role":"front","index":1,"reason":"it has ended"}'
    assert str(silence) == "front 1"
