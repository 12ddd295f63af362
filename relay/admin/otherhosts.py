"""The admins of the other hosts of a cluster, and all agents: asked over the engine.

Who reaches the engine is a host of ours, by its certificate and password: nobody else gets here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from relay import log
from relay.admin.asker import SHARE_ABROAD, Seat, Silence
from relay.cluster.names import admin_of, agent_of
from relay.cluster.post import Post, Unanswered
from relay.inquiries.contract import (
    FAILED,
    UNREADABLE,
    Answered,
    Forwarded,
    decode_answered,
    decode_forwarded,
    encode,
)
from relay.process.eventloop import begin_task
from relay.settings.clustering import ClusterSettings

# Of others at a time; one more is told so.
MAX_SERVED: Final = 1024

Serve = Callable[[Forwarded], Awaitable[Answered]]


class OtherHosts:
    """All of them, as an admin has them."""

    def __init__(
        self,
        cluster: ClusterSettings,
        loop: asyncio.AbstractEventLoop,
        serve: Serve,
        counters: Counter[str],
    ) -> None:
        """`serve` answers what others ask of this host."""
        self._cluster = cluster.name
        self._loop = loop
        self._serve = serve
        self._counters = counters
        self._serving = 0
        self._post = Post(
            cluster,
            name=f"{cluster.host_name} admin",
            subject=admin_of(cluster.name, cluster.host_name),
            loop=loop,
            take=self._take,
        )

    def start(self) -> None:
        """Begin to connect."""
        self._post.start()

    def close(self) -> None:
        """Ask and answer nothing any more."""
        self._post.close()

    async def ask(self, seat: Seat, name: str, body: bytes, by_s: float) -> Answered:
        """See `relay.admin.asker.Others`."""
        left_s = by_s - self._loop.time()
        if left_s <= 0:
            return _unanswered("it was not asked: the time was up")
        within_ms = int(1000 * left_s * SHARE_ABROAD)
        asked = Forwarded(seat.role, seat.index, within_ms, name, msgspec.Raw(body))
        try:
            said = await self._post.ask(admin_of(self._cluster, seat.host), encode(asked), by_s)
            return decode_answered(said)
        except (Unanswered, *UNREADABLE) as error:
            return _unanswered(str(error))

    async def ask_agent(self, host: str, payload: bytes, by_s: float) -> bytes | Silence:
        """See `relay.admin.asker.Others`."""
        try:
            return await self._post.ask(agent_of(self._cluster, host), payload, by_s)
        except Unanswered as error:
            return Silence("agent", 0, str(error), host)

    def _take(self, payload: bytes, reply: str, is_late: bool) -> None:
        self._counters["asked_by_other_hosts"] += 1
        if is_late:
            self._say(reply, _unanswered("it was not asked in time"))
            return
        try:
            asked = decode_forwarded(payload)
        except UNREADABLE as error:
            log.get_logger().warning("inquiry.unreadable", reason=str(error))
            return
        if self._serving >= MAX_SERVED:
            self._say(reply, _unanswered(f"{MAX_SERVED} questions wait there already"))
            return
        self._serving += 1
        begin_task(self._answer(asked, reply))

    async def _answer(self, asked: Forwarded, reply: str) -> None:
        try:
            self._say(reply, await self._serve(asked))
        finally:
            self._serving -= 1

    def _say(self, reply: str, answered: Answered) -> None:
        said = encode(answered)
        if len(said) > self._post.most_bytes:
            said = encode(_unanswered(f"its answer of {len(said):,} bytes is too large"))
        try:
            self._post.answer(reply, said)
        except Unanswered as error:
            log.get_logger().warning("answer.unsent", reason=str(error))


def _unanswered(reason: str) -> Answered:
    return Answered(0, code=FAILED, reason=reason)
