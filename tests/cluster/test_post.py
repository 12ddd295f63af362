"""What processes of different hosts ask each other over the engine, with real ones."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from relay.cluster.post import Post, Unanswered
from relay.process.eventloop import run_to_its_end
from relay.settings.clustering import ClusterSettings

from .engines import PASSWORD, Engines

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

SOON_S = 20.0


@pytest.fixture
def hosts(engines: Engines) -> list[ClusterSettings]:
    """Hosts `a`, `b` and `c`, each with an engine of its own."""
    login = engines.login
    return [
        ClusterSettings(
            name="test",
            hosts=tuple(f"{each}=127.0.0.1" for each in "abc"),
            host_name=name,
            engine_port=server.port,
            password=PASSWORD,
            ca=login.ca,
            certificate=login.certificate,
            certificate_key=login.key,
        )
        for name, server in zip("abc", engines.servers, strict=True)
    ]


class Played:
    """Posts of some hosts; each answers with what it was asked, turned round."""

    def __init__(self) -> None:
        self.posts: list[Post] = []

    def begin(self, cluster: ClusterSettings, *, says: bool = True) -> Post:
        def take(payload: bytes, reply: str, is_late: bool) -> None:
            if says:
                post.answer(reply, b"late" if is_late else payload[::-1])

        post = Post(
            cluster,
            name="test",
            subject=f"test.admin.{cluster.host_name}",
            loop=asyncio.get_running_loop(),
            take=take,
        )
        post.start()
        self.posts.append(post)
        return post


def run(work: Callable[[Played], Awaitable[None]]) -> None:
    async def play(loop: asyncio.AbstractEventLoop) -> None:
        played = Played()
        try:
            await work(played)
        finally:
            for each in played.posts:
                each.close()

    run_to_its_end(asyncio.run, play)


def by_s(seconds: float = SOON_S) -> float:
    return asyncio.get_running_loop().time() + seconds


async def answered(post: Post, subject: str, payload: bytes) -> bytes:
    """Return what is answered once both ends are connected, and know of each other."""
    until_s = time.monotonic() + SOON_S
    while True:
        try:
            return await post.ask(subject, payload, by_s(2.0))
        except Unanswered:
            if time.monotonic() > until_s:
                raise
            await asyncio.sleep(0.1)


def test_what_is_asked_there_is_answered_here(hosts: list[ClusterSettings]) -> None:
    async def work(played: Played) -> None:
        here = played.begin(hosts[0])
        played.begin(hosts[1])

        assert await answered(here, "test.admin.b", b"abc") == b"cba"
        many = [b"%d1" % number for number in range(100)]
        asked = (here.ask("test.admin.b", each, by_s()) for each in many)
        assert await asyncio.gather(*asked) == [each[::-1] for each in many]

    run(work)


def test_that_nobody_is_there_is_heard_at_once(hosts: list[ClusterSettings]) -> None:
    async def work(played: Played) -> None:
        here = played.begin(hosts[0])
        await answered(here, "test.admin.a", b"")
        begun_s = time.monotonic()
        with pytest.raises(Unanswered, match="it is not there"):
            await here.ask("test.admin.c", b"", by_s())
        assert time.monotonic() - begun_s < SOON_S / 2

    run(work)


def test_who_says_nothing_is_waited_for_as_long_as_one_wants(hosts: list[ClusterSettings]) -> None:
    async def work(played: Played) -> None:
        here = played.begin(hosts[0])
        await answered(here, "test.admin.a", b"")
        silent = played.begin(hosts[1], says=False)
        until_s = time.monotonic() + SOON_S
        while True:
            begun_s = time.monotonic()
            with pytest.raises(Unanswered) as told:
                await here.ask("test.admin.b", b"", by_s(0.3))
            if "not there" not in str(told.value) or time.monotonic() > until_s:
                break
            await asyncio.sleep(0.1)
        assert str(told.value) == "it did not answer in time"
        assert time.monotonic() - begun_s < SOON_S / 2
        assert silent.most_bytes > 0

    run(work)


def test_without_an_engine_nothing_is_asked(hosts: list[ClusterSettings]) -> None:
    nowhere = msgspec.structs.replace(hosts[0], engine_port=1)

    async def work(played: Played) -> None:
        here = played.begin(nowhere)
        with pytest.raises(Unanswered, match="reaches no engine"):
            await here.ask("test.admin.b", b"", by_s())

    run(work)


def test_what_is_too_large_fails_alone(hosts: list[ClusterSettings]) -> None:
    async def work(played: Played) -> None:
        here = played.begin(hosts[0])
        await answered(here, "test.admin.a", b"")
        with pytest.raises(Unanswered, match="exceeds max_payload"):
            await here.ask("test.admin.a", os.urandom(here.most_bytes + 1), by_s())
        assert await here.ask("test.admin.a", b"ab", by_s()) == b"ba"

    run(work)


def test_one_that_has_slept_is_told_so_of_what_was_asked_meanwhile(
    hosts: list[ClusterSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(played: Played) -> None:
        here = played.begin(hosts[0])
        assert await answered(here, "test.admin.a", b"ab") == b"ba"
        monkeypatch.setattr("relay.cluster.post.SLEPT_S", -1.0)
        assert await here.ask("test.admin.a", b"ab", by_s()) == b"late"
        monkeypatch.undo()
        assert await answered(here, "test.admin.a", b"ab") == b"ba"

    run(work)
