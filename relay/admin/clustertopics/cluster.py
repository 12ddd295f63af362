"""GET /api/v1/cluster: how all hosts are, and who owns, leads and follows each range."""

from __future__ import annotations

import msgspec
from litestar.exceptions import HTTPException

from relay.admin.agents import statuses
from relay.admin.asker import Silence
from relay.admin.routes import look
from relay.admin.view import View
from relay.cluster.health import Overview, lag_of, overview
from relay.cluster.requests import ClusterStatus, HostStatus
from relay.settings.clustering import ClusterSettings


class HostShown(msgspec.Struct, frozen=True, kw_only=True):
    """A host, as another one sees it."""

    name: str
    address: str
    life: str  # "living", "silent", or "unheard" while nobody has listened for long enough
    state: str  # "witness", "drained", "full", "isolated", "stops", or empty: it serves
    version: str
    fronts: int
    owns: int  # ranges
    leads: int  # logs
    lacks: int  # records that its engine has yet to get, of all logs


class StandbyShown(msgspec.Struct, frozen=True, kw_only=True):
    """Who could take a range over, and how many records of its log are not applied there."""

    host: str
    lacks: int


class RangeShown(msgspec.Struct, frozen=True, kw_only=True):
    """A range; its number is that of its worker."""

    number: int
    owner: str  # empty: nobody serves it
    epoch: int  # the record by which its owner has it
    last: int  # the last record of its log
    leader: str  # whose engine leads its log; empty: nobody's, or it is not known
    fill: float  # how full its log is; at 1.0 sends are refused
    standbys: list[StandbyShown]


class ClusterShown(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster, as the host sees it that sees most; `amiss` is empty where all is well."""

    name: str
    seen_by: str
    has_majority: bool
    moving: int | None  # the range that is being moved
    amiss: list[str]
    hosts: list[HostShown]
    ranges: list[RangeShown]
    not_asked: list[Silence]


@look("/api/v1/cluster", summary="Hosts and ranges", tags=["status"])
async def cluster(view: View) -> ClusterShown:
    """Return how all hosts are, by the agents that say so in time, and in words what is amiss."""
    settings = view.settings.cluster
    said, not_asked = await statuses(view)
    if not said:
        raise HTTPException("no agent says how the hosts are", status_code=503)
    seen = overview(settings.name, settings.addresses, said, standbys=settings.standbys)
    return ClusterShown(
        name=settings.name,
        seen_by=seen.status.seen_by,
        has_majority=seen.status.has_majority,
        moving=seen.status.moving,
        amiss=list(seen.amiss),
        hosts=_hosts(settings, seen, said),
        ranges=[
            RangeShown(
                number=number,
                owner=each.owner,
                epoch=each.epoch,
                last=each.last,
                leader=each.leader,
                fill=each.fill,
                standbys=[StandbyShown(host=h, lacks=lag_of(each, h)) for h in each.standing],
            )
            for number, each in enumerate(seen.status.ranges)
        ],
        not_asked=not_asked,
    )


def _hosts(
    settings: ClusterSettings, seen: Overview, said: dict[str, ClusterStatus]
) -> list[HostShown]:
    status = seen.status
    return [
        HostShown(
            name=name,
            address=settings.addresses.get(name, ""),
            life=host.life,
            state=_state_of(name, host, settings.witness, said.get(name)),
            version=host.version,
            fronts=host.fronts,
            owns=sum(each.owner == name for each in status.ranges),
            leads=sum(each.leader == name for each in status.ranges),
            lacks=sum(host.behind.values()),
        )
        for name, host in status.hosts.items()
    ]


def _state_of(name: str, host: HostStatus, witness: str, own: ClusterStatus | None) -> str:
    if name == witness:
        return "witness"
    if host.drained:
        return "drained"
    if host.lacks_room:
        return "full"
    if own is not None and own.isolated:
        return "isolated"
    return "stops" if host.stops else ""


ROUTES = [cluster]
