"""Each sabotage of several hosts does what its name says, and nothing when it is not chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from relay.cluster.trimming import KEPT_S, Trimming
from relay.errors import Fenced
from workers.log.claim import Claim
from workers.log.reader import LogReader
from workers.log.record import Claimed, Kind, encode, encode_claimed
from workers.log.writer import Found, Writer
from workers.standby import Standby
from workers.store.store import Store

from .sabotage import NAMES_OF_MANY_HOSTS, Patch, agent, owner

Sabotage = Callable[[Patch], None]
EPOCH = encode(Kind.EPOCH, 0, encode_claimed(Claimed("a", 1, "p", "")))


def nothing(patch: Patch) -> None:
    """Leave everything as it is."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path, durability="log", map_bytes=1 << 24, max_map_bytes=1 << 24)
    yield store
    with suppress(Exception):
        store.close()


@pytest.mark.parametrize(("sabotage", "is_fenced"), [(nothing, True), (owner.no_fence, False)])
def test_without_a_fence_an_owner_takes_no_notice_of_a_newer_epoch(
    sabotage: Sabotage, is_fenced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    writer = Writer(1, EPOCH)
    writer.append(b"x", 0.0)
    writer.refused(2, 0.1)

    fenced = False
    try:
        assert writer.found(Found(2, 2, 7), 0.2)
    except Fenced:
        fenced = True

    assert fenced is is_fenced


class _Log:
    refusal = ""

    def __init__(self) -> None:
        self.had: list[int] = []
        self.confirmed = 0
        self.store: Store | None = None

    def append(self, number: int, payload: bytes) -> int:
        """Note up to which record the store was when `number` was on its way; it is there then."""
        assert self.store is not None
        self.had.append(self.store.last_number)
        self.confirmed = number
        return number


@pytest.mark.parametrize(("sabotage", "had"), [(nothing, 0), (owner.fold_unconfirmed, 1)])
def test_a_record_is_in_the_store_before_the_log_has_it(
    sabotage: Sabotage, had: int, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    log = _Log()
    log.store = store
    store.follow(log)

    with store.writing() as batch:
        batch.put_day_us(1)
    store.confirm()

    assert log.had == [had]
    assert store.last_number == 1


@pytest.mark.parametrize(("sabotage", "taken"), [(nothing, b"x"), (owner.no_catch_up, b"")])
def test_who_takes_over_without_catching_up_has_nothing_of_what_it_lacked(
    sabotage: Sabotage, taken: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    standby = Standby.__new__(Standby)
    standby._reader = reader = LogReader(0)
    standby._claim = Claim(reader, Claimed("a", 1, "p", ""))

    standby._carry_out([])

    reader.take(1, EPOCH)
    assert reader.take(2, encode(Kind.DATA, 1, b"x")) == taken


@pytest.mark.parametrize(("sabotage", "up_to"), [(nothing, 0), (agent.early_trim, 1)])
def test_an_early_trim_does_not_wait_for_standbys(
    sabotage: Sabotage, up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch.setattr)
    trimming = Trimming()
    trimming.note(100, 0.0)

    assert trimming.up_to([None], KEPT_S + 1, copied=None) == up_to


def test_every_sabotage_of_several_hosts_says_what_it_does() -> None:
    assert all(NAMES_OF_MANY_HOSTS.values())
