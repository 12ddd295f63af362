"""Files of logins are looked at beside the front, whatever their disk does."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.auth.contract import Credentials, Granted, Peer
from relay.front.checks import AT_ONCE, Checks

DEADLINE_S = 10


class HangingDisk:
    """A mode whose files are on a disk that answers when the test lets it."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.looks = 0
        self.fault: Exception | None = None

    def refresh(self) -> bool:
        self.looks += 1
        assert self.may_answer.wait(DEADLINE_S)
        if self.fault:
            raise self.fault
        return True

    def holds(self, user: str, granted: Granted) -> bool:
        return user != "alice"

    def check(self, credentials: Credentials, peer: Peer, *, now_s: float) -> Granted:
        return Granted()

    def take_keys(self, content: bytes) -> None:
        raise AssertionError(content)

    async def close(self) -> None:
        pass


def client(user: str, sent_away: list[str]) -> Any:
    login = SimpleNamespace(claim=(user, Granted()))
    return SimpleNamespace(
        session=SimpleNamespace(login=login), log_out=lambda: sent_away.append(user)
    )


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


def test_a_disk_that_hangs_holds_nobody_up_and_is_asked_no_second_time() -> None:
    async def scene() -> None:
        disk, sent_away = HangingDisk(), list[str]()
        clients = {n: client(user, sent_away) for n, user in enumerate(["alice", "bob", ""])}
        checks = Checks(disk, clients, asyncio.get_running_loop())

        for _ in range(5):
            checks.refresh()  # returns
        await until(lambda: disk.looks)
        assert (disk.looks, sent_away) == (1, [])

        disk.may_answer.set()
        await until(lambda: sent_away)
        assert sent_away == ["alice"]
        checks.refresh()
        await until(lambda: disk.looks == 2)
        await checks.end()

    asyncio.run(scene())


def test_who_knows_of_a_change_has_it_looked_at_once_more() -> None:
    async def scene() -> None:
        disk = HangingDisk()
        checks = Checks(disk, {}, asyncio.get_running_loop())
        checks.refresh()
        await until(lambda: disk.looks)

        checks.refresh(at_once=True)  # this look may have been before the change
        disk.may_answer.set()

        await until(lambda: disk.looks == 2)
        await checks.end()

    asyncio.run(scene())


def test_a_fault_in_looking_is_told_and_it_looks_again() -> None:
    async def scene() -> None:
        disk = HangingDisk()
        disk.may_answer.set()
        disk.fault = RuntimeError("a bug")
        checks = Checks(disk, {}, asyncio.get_running_loop())
        lookout = checks._lookout
        assert lookout is not None
        for looks in (1, 2):
            await until(lambda: not lookout.is_looking)
            checks.refresh()
            await until(lambda looks=looks: disk.looks == looks)
        await until(lambda: not lookout.is_looking)

    with capture_logs() as lines:
        asyncio.run(scene())

    assert [line["event"] for line in lines] == ["auth.not_refreshed"] * 2


@pytest.mark.slow
def test_a_process_ends_though_its_disk_hangs() -> None:
    disk = HangingDisk()

    async def scene() -> None:
        checks = Checks(disk, {}, asyncio.get_running_loop())
        checks.refresh()
        await checks.end()

    asyncio.run(asyncio.wait_for(scene(), DEADLINE_S))
    disk.may_answer.set()  # or its thread would fail in the middle of a later test


def test_between_two_looks_it_rests_but_not_for_who_knows_of_a_change() -> None:
    async def scene() -> None:
        disk = HangingDisk()
        disk.may_answer.set()
        checks = Checks(disk, {}, asyncio.get_running_loop(), rest_ms=5000)

        for clock_ms in (1000, 2000, 5999):
            checks.look(clock_ms)
        await until(lambda: disk.looks == 1)
        checks.refresh(at_once=True)
        await until(lambda: disk.looks == 2)
        checks.look(6000)
        await until(lambda: disk.looks == 3)
        await checks.end()

    asyncio.run(scene())


def test_where_nothing_changes_it_never_looks() -> None:
    async def scene() -> None:
        disk = HangingDisk()
        checks = Checks(disk, {}, asyncio.get_running_loop(), rest_ms=None)

        checks.look(1_000_000)

        assert checks._lookout is not None
        assert not checks._lookout.is_looking
        await checks.end()

    asyncio.run(scene())


def test_who_has_gone_is_checked_no_more() -> None:
    async def scene() -> None:
        given_up = []

        class Slow(HangingDisk):
            async def check(self, credentials: Credentials, peer: Peer, *, now_s: float) -> Granted:  # type: ignore[override]
                try:
                    await asyncio.sleep(DEADLINE_S)
                except asyncio.CancelledError:
                    given_up.append(credentials.user)
                    raise
                return Granted()

        checks = Checks(Slow(), {}, asyncio.get_running_loop())
        for number, user in enumerate(("alice", "bob")):
            session: Any = SimpleNamespace(number=number)
            checks.begin(session, Credentials(user, None), Peer())
        await asyncio.sleep(0)

        checks.give_up(0)
        checks.give_up(0)
        checks.give_up(7)  # of whom nothing is checked
        await until(lambda: given_up)
        assert given_up == ["alice"]
        await checks.end()
        assert given_up == ["alice", "bob"]

    asyncio.run(scene())


def test_of_many_sessions_some_are_looked_at_in_each_turn_and_who_has_gone_is_left_alone() -> None:
    async def scene() -> None:
        disk, sent_away = HangingDisk(), list[str]()
        disk.may_answer.set()
        count = 3 * AT_ONCE
        clients = {n: client("alice", sent_away) for n in range(count)}
        loop = asyncio.get_running_loop()
        checks = Checks(disk, clients, loop)
        most, turns = 0, 0

        def look() -> None:
            nonlocal most, turns
            most, turns = max(most, len(sent_away) - turns), len(sent_away)
            clients.pop(0, None)
            if len(sent_away) < count - 1:
                loop.call_soon(look)

        checks.refresh()
        loop.call_soon(look)
        await until(lambda: len(sent_away) >= count - 1)
        await asyncio.sleep(0.01)

        assert most == AT_ONCE
        assert len(sent_away) == count - 1
        await checks.end()

    asyncio.run(scene())


def test_who_knows_of_a_change_hears_when_a_look_that_began_behind_it_has_ended() -> None:
    async def scene() -> None:
        disk, heard = HangingDisk(), list[str]()
        checks = Checks(disk, {}, asyncio.get_running_loop())

        checks.refresh()
        await until(lambda: disk.looks == 1)
        checks.refresh(at_once=True, then=lambda: heard.append(f"of look {disk.looks}"))
        assert heard == []
        disk.may_answer.set()
        await until(lambda: heard)
        checks.refresh(at_once=True, then=lambda: heard.append(f"of look {disk.looks}"))
        await until(lambda: len(heard) == 2)

        assert heard == ["of look 2", "of look 3"]
        await checks.end()

    asyncio.run(scene())
