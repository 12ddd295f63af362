"""Looks at a cluster from outside: who owns and leads what, and how far everybody is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Self

from relay.cluster import jetstream
from relay.cluster.access import login_of, servers_of
from relay.cluster.caller import cluster_of
from relay.cluster.jetstream import StreamState
from relay.cluster.names import agent_of
from relay.cluster.natswire import Wire, WireLost
from relay.cluster.placement import Plan
from relay.cluster.requests import (
    Answer,
    ClusterStatus,
    Done,
    MoveAsked,
    Request,
    StatusAsked,
    decode_answer,
    encode,
)
from tests.outside.cluster import Cluster

LIVING: Final = "living"
_ANSWER_S: Final = 1.0
_NOBODY: Final = 503
_WHOLE_S: Final = 60.0
_EVERY_S: Final = 0.05
_NO_PINS: Final[Mapping[int, str]] = {}


class Watch:
    """Asks agents and engines, whichever answers first."""

    def __init__(self, cluster: Cluster) -> None:
        self._settings = cluster_of(cluster.path)
        self._wire: Wire | None = None
        self._pins: dict[int, str] = {}  # ranges that were moved, and where to

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lose()

    def rest(self, seconds: float) -> None:
        """Look at nothing for so long; an engine would not keep the connection of who is silent."""
        self._lose()
        time.sleep(seconds)

    def status(self) -> ClusterStatus:
        """Return how the cluster is, as the first agent that answers sees it.

        Raises:
            TimeoutError: none does for some seconds.
        """
        ends_s = time.monotonic() + 10 * _ANSWER_S
        while True:
            for host in self._settings.addresses:
                answer = self._ask(host, StatusAsked())
                if isinstance(answer, ClusterStatus):
                    return answer
            if time.monotonic() > ends_s:
                raise TimeoutError("no agent says how the cluster is")

    def move(self, range_: int, to: str) -> None:
        """Ask for a planned move; to "": where it is without one.

        Raises:
            AssertionError: it is refused, or nobody answers.
        """
        answer = next(
            filter(None, (self._ask(h, MoveAsked(range_, to)) for h in self._settings.addresses)),
            None,
        )
        assert isinstance(answer, Done), f"range {range_} to {to}: {answer}"
        self._pins[range_] = to
        if not to:
            del self._pins[range_]

    def home_of(self, range_: int) -> str:
        """Return which host owns a range where no operator has moved it."""
        return self._plan().ranked(range_)[0]

    def _plan(self, pins: Mapping[int, str] = _NO_PINS) -> Plan:
        settings = self._settings
        return Plan(tuple(settings.addresses), settings.ranges, settings.standbys, pins=pins)

    def logs(self) -> list[StreamState]:
        """Return what the log of each range has, as its leader sees it.

        Raises:
            TimeoutError, ApiError: nobody answers.
        """
        wire = self._connected()
        assert wire is not None, "no engine is there"
        return [
            jetstream.stream_info(wire, f"{self._settings.name}-{range_}", _ANSWER_S).state
            for range_ in range(self._settings.ranges)
        ]

    def replicas_lack(self, host: str) -> int:
        """Return of how many logs the engine of a host has not all, as their leaders see it."""
        wire = self._connected()
        if wire is None:
            return self._settings.ranges
        lacking = 0
        for range_ in range(self._settings.ranges):
            try:
                info = jetstream.stream_info(wire, f"{self._settings.name}-{range_}", 1.0)
            except (TimeoutError, jetstream.ApiError):
                lacking += 1
                continue
            mine = next((each for each in info.cluster.replicas if each.name == host), None)
            leads = info.cluster.leader == host
            lacking += not leads and (mine is None or not mine.current or bool(mine.lag))
        return lacking

    def await_whole(self) -> ClusterStatus:
        """Wait until every range is where it is to be in the end, led elsewhere and followed.

        Raises:
            TimeoutError: it is not so in a minute.
        """
        plan = self._plan(self._pins)
        owners = [plan.ranked(range_)[0] for range_ in range(self._settings.ranges)]
        return self.await_that(
            "every range to be owned where it is to be, led elsewhere and followed",
            lambda status: is_whole(status) and [each.owner for each in status.ranges] == owners,
        )

    def await_that(
        self,
        what: str,
        holds: Callable[[ClusterStatus], bool],
        *,
        within_s: float = _WHOLE_S,
    ) -> ClusterStatus:
        """Wait until the status is so.

        Raises:
            TimeoutError: it is not.
        """
        ends_s = time.monotonic() + within_s
        while True:
            status = self.status()
            if holds(status):
                return status
            if time.monotonic() > ends_s:
                raise TimeoutError(f"not within {within_s:g} s: {what}; but {status}")
            time.sleep(_EVERY_S)

    def _ask(self, host: str, request: Request) -> Answer | None:
        wire = self._connected()
        if wire is None:
            time.sleep(_EVERY_S)
            return None
        try:
            said = wire.request(
                agent_of(self._settings.name, host), encode(request), timeout_s=_ANSWER_S
            )
        except TimeoutError:
            return None
        except WireLost:
            self._lose()
            return None
        return None if said.status == _NOBODY else decode_answer(said.payload)

    def _connected(self) -> Wire | None:
        if self._wire is None:
            try:
                self._wire = Wire(
                    servers_of(self._settings), login_of(self._settings), name="watch"
                )
            except WireLost:
                return None
        return self._wire

    def _lose(self) -> None:
        if self._wire is not None:
            self._wire.close()
        self._wire = None


def is_led_evenly(status: ClusterStatus) -> bool:
    """Whether no host leads two more logs than another."""
    leads = Counter(dict.fromkeys(status.hosts, 0))
    leads.update(each.leader for each in status.ranges)
    return max(leads.values()) - min(leads.values()) < 2


def is_whole(status: ClusterStatus) -> bool:
    """Whether the next loss of a host costs no more than it has to."""
    if status.moving is not None or any(each.life != LIVING for each in status.hosts.values()):
        return False
    return all(
        each.owner
        and each.leader
        and each.leader != each.owner
        and any(applied >= each.last for host, applied in each.standing.items())
        for each in status.ranges
    )
