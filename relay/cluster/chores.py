"""What of an agent's work may take seconds: making the logs, and moving who leads them.

It is done in a thread of its own with a connection of its own, so that no beat waits for an answer
of the engine. What is wanted goes in and what was found comes out, each a whole and frozen.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Final

import msgspec

from relay import log
from relay.cluster.jetstream import ApiError, create_stream, step_down, stream_info
from relay.cluster.line import Line
from relay.cluster.logs import bucket_config, log_config
from relay.cluster.names import bucket_of, stream_of
from relay.cluster.natswire import Wire, WireLost
from relay.settings.clustering import ClusterSettings

# Between two rounds, where nothing new is wanted.
ROUND_S: Final = 1.0
ANSWER_S: Final = 2.0  # for one answer of the engine
# Making a stream is a decision of a majority, and its first election another one.
MADE_S: Final = 5.0
# An election of a leader who was moved away is over by then, or it has failed.
MOVE_AGAIN_S: Final = 10.0


class Wanted(msgspec.Struct, frozen=True):
    """What the agent wants done."""

    makes_logs: bool = False  # the other hosts leave it to this one
    owned: tuple[int, ...] = ()  # ranges whose log somebody else is to lead
    leaders: tuple[str, ...] = ()  # hosts that may, the best first


class Found(msgspec.Struct, frozen=True):
    """What is known of the logs."""

    has_logs: bool = False  # each range has one
    leaders: Mapping[int, str] = {}  # of the ranges that are owned here


class Chores:
    """The thread, and what it is to do; `descriptor` is readable when something was found."""

    def __init__(self, cluster: ClusterSettings) -> None:
        self._cluster = cluster
        self._line = Line(cluster, name=f"{cluster.host_name} chores", subjects=())
        self._wanted = Wanted()
        self._found = Found()
        self._wake = threading.Event()
        self._ends = False
        self._moved_s: dict[int, float] = {}
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def want(self, wanted: Wanted) -> None:
        """Do that from here on."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._wake.set()

    def take(self) -> Found:
        """Return what is known, and no more before the descriptor is readable again.

        Whatever has ended the thread escapes here.
        """
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass
        if self._failure is not None:
            raise self._failure
        return self._found

    def close(self) -> None:
        """End the thread soon; it is not waited for, as it may be waiting for the engine."""
        self._ends = True
        self._wake.set()

    # ------------------------------------------------------------------------- in the thread

    def _run(self) -> None:
        try:
            while not self._ends:
                self._round()
                self._wake.wait(ROUND_S)
                self._wake.clear()
        except BaseException as error:
            self._failure = error
            os.eventfd_write(self.descriptor, 1)
        finally:
            self._line.close()

    def _round(self) -> None:
        self._line.keep(time.monotonic())
        wire = self._line.wire
        if wire is None:
            return
        try:
            self._line.receive(time.monotonic())  # it answers the server's pings
            self._make_logs(wire)
            self._look_at_leaders(wire)
        except WireLost as error:
            self._line.drop(error, time.monotonic())
        except (TimeoutError, ApiError) as error:
            # No majority yet, or an election: the next round asks again.
            log.get_logger().debug("engine.busy", reason=str(error))

    def _tell(self, found: Found) -> None:
        if found != self._found:
            self._found = found
            os.eventfd_write(self.descriptor, 1)

    def _make_logs(self, wire: Wire) -> None:
        if self._found.has_logs:
            return
        cluster = self._cluster
        configs = [bucket_config(cluster), *(log_config(cluster, r) for r in range(cluster.ranges))]
        if self._wanted.makes_logs:
            for config in configs:
                create_stream(wire, config, timeout_s=MADE_S)
        else:
            for config in configs:
                stream_info(wire, config.name, timeout_s=ANSWER_S)
        log.get_logger().info("logs.found", logs=cluster.ranges)
        self._tell(msgspec.structs.replace(self._found, has_logs=True))

    def _look_at_leaders(self, wire: Wire) -> None:
        """Have each log that is written here led elsewhere: no loss costs a range both."""
        wanted, cluster = self._wanted, self._cluster
        if not self._found.has_logs or not cluster.has_own_engine:
            return
        leaders = {}
        for range_ in wanted.owned:
            stream = stream_of(cluster.name, range_)
            info = stream_info(wire, stream, timeout_s=ANSWER_S)
            leaders[range_] = info.leader
            now_s = time.monotonic()
            if info.leader != cluster.host_name or now_s < self._moved_s.get(range_, 0.0):
                continue
            current = {replica.name for replica in info.replicas if replica.is_current}
            to = next((host for host in wanted.leaders if host in current), None)
            if to is not None:
                self._moved_s[range_] = now_s + MOVE_AGAIN_S
                step_down(wire, stream, to, timeout_s=ANSWER_S)
                log.get_logger().info("log.leader_moved", range=range_, to=to)
        self._tell(msgspec.structs.replace(self._found, leaders=leaders))
