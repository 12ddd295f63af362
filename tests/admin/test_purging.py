"""A purge in a cluster: who does which share, and what all of it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from relay.admin import purging
from relay.admin.asker import Seat, Silence
from relay.admin.purging import Which
from relay.admin.tools import Done, Say, ToolFailed
from relay.admin.view import View
from relay.inquiries.purging import AskShare, BeginPurge, ShareSeen

USER = Which("u", None, dry_run=False)
OLD = Which("", 60, dry_run=True)


class Played:
    """What a purge needs of an admin: host `a` owns ranges 0 and 3, `b` 1, of 2 it varies."""

    def __init__(self, *, host: str = "a", owner_of_2: str | None = "b") -> None:
        self.host = host
        self.asker = self.tools = self
        self.place = self
        self.data_dir = Path("/data")
        self.owners = {0: "", 1: "b", 2: owner_of_2, 3: ""}
        self.ran: list[tuple[str, ...]] = []
        self.asked: list[tuple[str, Any]] = []
        self.fails: Mapping[str, str] = {}
        self.silent_at: frozenset[str] = frozenset()

    def everywhere(self, role: str) -> list[Seat]:
        assert role == "worker"
        return [Seat("worker", index, owner or "") for index, owner in self.owners.items()]

    def owner_of(self, user: str) -> Seat:
        assert user == "u"
        return self.everywhere("worker")[2]

    def who_is(self, seat: Seat) -> object | None:
        return None if self.owners[seat.index] is None else self

    async def run(self, say: Say, *arguments: str) -> Done:
        self.ran.append(arguments)
        say("purging: 50 %")
        if "a" in self.fails:
            raise ToolFailed(self.fails["a"])
        return Done("2 messages are gone", {"messages": 2})

    async def ask(self, seat: Seat, inquiry: Any) -> ShareSeen | Silence:
        self.asked.append((seat.host, inquiry))
        if seat.host in self.silent_at:
            return Silence("admin", 0, "it did not answer in time", seat.host)
        if isinstance(inquiry, BeginPurge):
            return ShareSeen("7-1", "running", "it begins")
        if seat.host in self.fails:
            return ShareSeen("7-1", "failed", self.fails[seat.host])
        return ShareSeen("7-1", "done", "3 messages are gone", {"messages": 3, "receipts": 1})


def purge(played: Played, which: Which) -> tuple[Done, list[str]]:
    said: list[str] = []
    return asyncio.run(purging.purge(cast(View, played), which, said.append)), said


def test_without_a_cluster_the_tool_does_all_of_it() -> None:
    played = Played(host="")

    done, _ = purge(played, USER)

    assert played.ran == [("purge", "/data", "--user", "u")]
    assert done == Done("2 messages are gone", {"messages": 2})


def test_what_is_of_a_user_goes_on_the_host_that_owns_his_range_and_nowhere_else() -> None:
    played = Played()

    done, said = purge(played, USER)

    assert played.ran == []
    assert played.asked == [
        ("b", BeginPurge([2], "u", None, dry_run=False, by="the admin of a")),
        ("b", AskShare("7-1")),
    ]
    assert done == Done("host b: 3 messages are gone", {"messages": 3, "receipts": 1})
    assert said == ["host b: it begins"]


def test_what_is_old_goes_on_each_host_where_it_owns_ranges_and_is_counted_together() -> None:
    played = Played()

    done, _ = purge(played, OLD)

    assert played.ran == [
        ("purge", "/data", "--older-than", "60s", "--dry-run", "--workers", "0,3")
    ]
    assert played.asked[0][1] == BeginPurge([1, 2], "", 60, dry_run=True, by="the admin of a")
    assert done.counts == {"messages": 5, "receipts": 1}
    assert done.detail == "host a: 2 messages are gone; host b: 3 messages are gone"


def test_nothing_goes_while_a_range_is_owned_by_nobody() -> None:
    played = Played(owner_of_2=None)

    with pytest.raises(ToolFailed, match="range 2 is owned by nobody just now"):
        purge(played, OLD)
    assert (played.ran, played.asked) == ([], [])


@pytest.mark.parametrize("failing", ["a", "b"])
def test_where_one_host_fails_it_is_said_and_what_the_others_did(failing: str) -> None:
    played = Played()
    played.fails = {failing: "the disk is full"}
    other = {"a": "host b: 3 messages are gone", "b": "host a: 2 messages are gone"}[failing]

    with pytest.raises(ToolFailed, match=f"host {failing}: failed: the disk is full") as told:
        purge(played, OLD)
    assert other in str(told.value)


def test_a_host_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played()
    played.silent_at = frozenset("b")

    with pytest.raises(ToolFailed, match="host b: failed: it was not asked, or has not said"):
        purge(played, OLD)


def test_one_that_falls_silent_amid_it_is_waited_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(purging, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(purging, "_AGAIN_S", 0.01)

    class FallsSilent(Played):
        async def ask(self, seat: Seat, inquiry: Any) -> ShareSeen | Silence:
            seen = await super().ask(seat, inquiry)
            self.silent_at = frozenset("b")
            return seen

    with pytest.raises(ToolFailed, match="host b: failed: nobody knows what became of it"):
        purge(FallsSilent(), OLD)


def test_what_hosts_say_to_each_other_of_it_comes_through() -> None:
    asked = BeginPurge([1, 2], "", 60, dry_run=True, by="the admin of a")

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(asked), type=BeginPurge) == asked
