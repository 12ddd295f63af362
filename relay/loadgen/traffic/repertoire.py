"""What each scenario does in one process; `traffic_for` makes the one that a plan asks for."""

from typing import assert_never

from relay.loadgen.traffic.exchange import ChatTraffic, GroupTraffic
from relay.loadgen.traffic.mixed import MixedTraffic
from relay.loadgen.traffic.offline import OfflineTraffic
from relay.loadgen.traffic.plan import Chat, Group, Idle, Mixed, Offline, Storm
from relay.loadgen.traffic.share import Share
from relay.loadgen.traffic.storm import IdleTraffic, StormTraffic
from relay.loadgen.traffic.visit import Traffic


def traffic_for(share: Share, units: range) -> Traffic:
    """Return the traffic of `units`, this process's part of the share's plan."""
    scenario = share.plan.scenario
    match scenario:
        case Chat():
            return ChatTraffic(share, scenario, units)
        case Group():
            return GroupTraffic(share, scenario, units)
        case Offline():
            return OfflineTraffic(share, scenario, units)
        case Storm():
            return StormTraffic(share, scenario, units)
        case Idle():
            return IdleTraffic(share, units)
        case Mixed():
            return MixedTraffic(share, scenario, units)
    assert_never(scenario)
