"""A relay on one host, and on three: started, found, and what its processes have used."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]

from relay.loadgen.run.processes import Processes
from relay.loadgen.run.servers import Server
from tests.bench.hosts.plan import HOSTS
from tests.bench.hosts.watch import Watch
from tests.bench.peers.drive import Address
from tests.outside.cluster import Cluster
from tests.outside.processes import children_of

ENGINE: Final = "engine"  # the role of the servers that are not the relay's own code
_SUPERVISOR: Final = "supervisor"
_ENGINE_PROGRAM: Final = "nats-server"
# One author stands for many.
_UNBOUND: Final = "\n[quota]\nmessages_per_s = 0\n"

CpuByRole = Mapping[str, float]


class Loaded(Protocol):
    """A relay that is loaded."""

    @property
    def addresses(self) -> Sequence[Address]:
        """Where clients connect."""

    def cpu_s(self) -> CpuByRole:
        """Return the CPU seconds that its processes have used so far, by role."""

    def records(self) -> int | None:
        """Return how many records its logs have had so far, None without logs."""


class OneHost:
    """A relay without a cluster."""

    def __init__(self, server: Server) -> None:
        self.addresses = [_address(server.url)]
        self._tree = Tree(server.pid)

    def cpu_s(self) -> CpuByRole:
        """Return what its processes have used so far."""
        return self._tree.cpu_s(_role)

    def records(self) -> None:
        """Return None: each worker's journal is its own."""


class ThreeHosts:
    """A relay on three addresses of this machine."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        self.cluster = cluster
        self.watch = watch
        self.addresses = [_address(host.url) for host in cluster]
        self._trees = {host.name: Tree(host.process.pid) for host in cluster}
        self.ranges = len(watch.status().ranges)
        self._owners: list[str] = []  # of the ranges, once somebody asks

    def cpu_s(self) -> CpuByRole:
        """Return what their processes have used so far; workers are owners or standbys."""
        self._owners = self._owners or [each.owner for each in self.watch.status().ranges]
        total: dict[str, float] = defaultdict(float)
        for host, tree in self._trees.items():

            def role(kind: str, index: int, host: str = host) -> str:
                if kind != "worker":
                    return kind
                return "owner" if self._owners[index] == host else "standby"

            for name, seconds in tree.cpu_s(role).items():
                total[name] += seconds
        return total

    def records(self) -> int:
        """Return how many records the logs have had."""
        return sum(each.last_seq for each in self.watch.logs())


@contextmanager
def running_one(*, ranges: int) -> Iterator[OneHost]:
    """Serve on one host, with new data and nobody's messages bounded, until the block ends.

    Raises:
        RunFailed: it does not come up.
    """
    command = [
        *(sys.executable, "-m", "relay", "serve", "--port", "0", "--no-admin"),
        *("--workers", str(ranges), "--fronts", str(len(HOSTS)), "--messages-per-s", "0"),
    ]
    with Server("relay", command, data_option="--data") as server:
        yield OneHost(server)


@contextmanager
def running_hosts(*, ranges: int, in_flight: int) -> Iterator[ThreeHosts]:
    """Serve on three hosts, likewise; every range has an owner and a standby.

    Raises:
        AssertionError, TimeoutError: they do not come up.
    """
    config = f"in_flight = {in_flight}\n{_UNBOUND}"
    with Cluster(HOSTS, ranges=ranges, config=config) as cluster, Watch(cluster) as watch:
        watch.await_whole()
        yield ThreeHosts(cluster, watch)


def idle_cores(loaded: Loaded, seconds: float) -> dict[str, float]:
    """Return how many cores' worth each role uses while nothing happens."""
    began_s, before = time.monotonic(), loaded.cpu_s()
    time.sleep(seconds)
    after, took_s = loaded.cpu_s(), time.monotonic() - began_s
    return {role: (after[role] - before.get(role, 0.0)) / took_s for role in after}


class Tree:
    """The processes of a host, by the pid of their root."""

    def __init__(self, root: int) -> None:
        self._root = psutil.Process(root)
        self._processes = Processes(root)
        self._kinds: dict[int, tuple[str, int]] = {}  # by pid, also of those that have ended

    def cpu_s(self, role: Callable[[str, int], str]) -> CpuByRole:
        """Return the CPU seconds of all that there is or was, by what `role` makes of each."""
        for child in children_of(self._root):
            self._kinds[child.process.pid] = child.role, child.index
        total: dict[str, float] = defaultdict(float)
        for pid, usage in self._processes.look().items():
            kind, index = self._kinds.get(pid, (_SUPERVISOR, 0))
            if usage.role == _ENGINE_PROGRAM:
                total[ENGINE] += usage.cpu_s
            else:  # who keeps the engine's process is as the supervisor is
                total[_SUPERVISOR if kind == ENGINE else role(kind, index)] += usage.cpu_s
        return total


def _role(kind: str, index: int) -> str:
    return "owner" if kind == "worker" else kind


def _address(url: str) -> Address:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return Address(parts.hostname, parts.port)
