"""Whom an admin can ask: the processes of its host."""

from __future__ import annotations

import asyncio
from pathlib import Path

from relay.admin.asker import Asker, Process, Seat, Silence
from relay.bus.topology import Topology, WorkerAddress
from relay.inquiries.figures import AskFigures
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


def test_of_a_range_of_another_host_it_is_said_that_it_is_there(tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(workers=2, fronts=1), cluster=cluster_settings("a"))

    async def ask() -> object:
        asker = Asker(settings, tmp_path, asyncio.get_running_loop())
        try:
            return await asker.ask(Seat("worker", 1), AskFigures())
        finally:
            asker.close()

    assert asyncio.run(ask()) == Silence("worker", 1, "its range is another host's: ask there")
