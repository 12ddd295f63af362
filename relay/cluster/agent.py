"""The agent of a host: sees the other hosts, and says what is to happen on this one.

It does not decide (`relay.cluster.ownership`) and does nothing to a process: it hears its own
supervisor and the other agents, and tells both. Where it dies, everything goes on as it was told
last; the next one listens for a while before it tells anything.
"""

from __future__ import annotations

import select
import time
from collections import Counter
from typing import Final, assert_never

from relay import clock, log
from relay.bus.topology import Topology
from relay.cluster import beats
from relay.cluster.chores import Chores, Wanted
from relay.cluster.home import Home
from relay.cluster.line import Line
from relay.cluster.names import agent_of, beats_of
from relay.cluster.natswire import Message
from relay.process.control import (
    ChildReady,
    ClusterTold,
    GroupsChanged,
    HandOver,
    HostState,
    Isolated,
    KeysChanged,
    Outcome,
    PeerGone,
    Promote,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.duties import Duties
from relay.process.place import Place
from relay.process.run import settle

BEAT_S: Final = 0.25
# Between two beats, however much changes.
BEAT_SOONEST_S: Final = 0.02
# What a silence means is looked at so often.
THINK_S: Final = 0.1


class Agent:
    """One agent process."""

    def __init__(self, place: Place) -> None:
        self._control = place.control
        cluster = place.settings.cluster
        self._beats_subject = beats_of(cluster.name, cluster.host_name)
        self._home = Home(cluster, place.incarnation)
        self._line = Line(
            cluster,
            name=f"{cluster.host_name} agent",
            subjects=[beats_of(cluster.name, "*"), agent_of(cluster.name, cluster.host_name)],
        )
        self._chores = Chores(cluster)
        self._told: ClusterTold | None = None
        self._beat_due_s = self._think_due_s = self._beaten_s = 0.0
        self._counters: Counter[str] = Counter()
        self._duties = Duties(
            "agent",
            place.control,
            self._counters,
            heartbeat_s=place.settings.supervisor.heartbeat_s,
        )
        self._stops = False

    def run(self) -> None:
        """Work until the supervisor says stop or is gone."""
        self._chores.start()
        self._control.send(ChildReady())
        settle()
        log.get_logger().info("agent.started")
        while not self._stops:
            self._turn()
        self._beat(time.monotonic())  # that nothing is served here any more
        self._chores.close()
        self._line.close()
        log.get_logger().info("agent.stopped", **self._counters)
