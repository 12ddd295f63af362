"""How the hosts of a cluster are, as their agents tell the admin of one."""

from __future__ import annotations

import asyncio

from relay.admin.asker import Silence
from relay.admin.view import View
from relay.cluster.requests import (
    ClusterStatus,
    Refused,
    RequestUnreadable,
    StatusAsked,
    decode_answer,
    encode,
)


async def statuses(view: View) -> tuple[dict[str, ClusterStatus], list[Silence]]:
    """Return how each host's agent sees the cluster, this one's too, and who did not say."""
    hosts = list(view.settings.cluster.addresses)
    ends = await asyncio.gather(*(status_of(view, host) for host in hosts))
    said = {h: end for h, end in zip(hosts, ends, strict=True) if isinstance(end, ClusterStatus)}
    return said, [end for end in ends if isinstance(end, Silence)]


async def status_of(view: View, host: str) -> ClusterStatus | Silence:
    """Return how the agent of a host sees the cluster."""
    payload = await view.others.ask_agent(host, encode(StatusAsked()), view.asker.deadline_s())
    if isinstance(payload, Silence):
        return payload
    try:
        said = decode_answer(payload)
    except RequestUnreadable as error:
        return Silence("agent", 0, str(error), host)
    if isinstance(said, ClusterStatus):
        return said
    reason = said.reason if isinstance(said, Refused) else "it answers something else"
    return Silence("agent", 0, reason, host)
