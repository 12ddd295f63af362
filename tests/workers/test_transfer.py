"""A copy of another host's store: whole or nothing, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.bus.envelopes import Seq
from relay.cluster.transfers import Bytes, Enough, Piece, Refused, Seek, Transfers, encode
from workers.store.keys import box_of
from workers.store.store import Store
from workers.tools import handout
from workers.transfer import NoCopy, Source

MIB = 1024 * 1024
BOB = box_of("bob")
RECORDS = 40


class MemoryLog:
    refusal = ""
    confirmed = 0

    def append(self, number: int, payload: bytes) -> int:
        self.confirmed = number
        return number


def open_store(directory: Path) -> Store:
    return Store(directory, durability="log", map_bytes=16 * MIB, max_map_bytes=64 * MIB)


class Line:
    """Asks host b in this process, and does to its answers what a test wants."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self.asked: list[str] = []
        self.pieces_lost = 0
        self.now_s = 0.0
        self.instead: dict[type, bytes] = {}

    def __call__(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        self.asked.append(subject)
        for kind, answer in self.instead.items():
            if payload[:1] != b"" and kind.__name__.lower().encode() in payload:
                return answer
        if b"piece" in payload and self.pieces_lost:
            self.pieces_lost -= 1
            raise TimeoutError
        said = self._transfers.answer(payload, self.now_s, range_=int(subject.split(".")[2]))
        if said is None:
            raise TimeoutError
        return said


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "b")
    store.follow(MemoryLog())
    for seq in range(1, RECORDS + 1):
        with store.writing() as batch:
            batch.put_mail(BOB, Seq(seq), b"x" * 20_000)
            batch.put_last_seq(Seq(seq))
        store.confirm()
        store.fold()
    yield store
    store.close()


@pytest.fixture
def line(tmp_path: Path, owner: Store) -> Iterator[Line]:
    transfers = Transfers("b", tmp_path / "copies", lambda _: tmp_path / "b")
    yield Line(transfers)
    transfers.close()


def source(line: Line, host: str = "a") -> Source:
    return Source(line, cluster="n", range_=3, host=host, on_wait=lambda: None)


def test_a_copy_goes_on_behind_the_last_record_of_the_one_it_is_of(
    tmp_path: Path, owner: Store, line: Line
) -> None:
    line.pieces_lost = 1

    number = source(line).fetch(tmp_path / "a")

    copy = open_store(tmp_path / "a")
    assert number == copy.last_number == owner.last_number == RECORDS
    assert copy.last == owner.last
    assert copy.synced_number == RECORDS
    with copy.reading() as theirs, owner.reading() as ours:
        assert theirs.last_seq() == ours.last_seq()
    copy.apply(RECORDS + 1, b"")
    copy.close()
    assert line.asked[0] == "n.snapshot.3"
    assert set(line.asked[1:]) == {"n.snapshot.3.b"}


def test_a_store_that_is_there_is_replaced_as_a_whole(tmp_path: Path, line: Line) -> None:
    old = open_store(tmp_path / "a")
    old.apply(1, b"")
    old.close()

    source(line).fetch(tmp_path / "a")

    copy = open_store(tmp_path / "a")
    assert copy.last_number == RECORDS
    copy.close()


def test_where_nobody_has_one_nothing_is_changed(tmp_path: Path, line: Line) -> None:
    old = open_store(tmp_path / "a")
    old.apply(1, b"")
    old.close()

    with pytest.raises(NoCopy, match="nobody answers"):
        source(line, host="b").fetch(tmp_path / "a")

    kept = open_store(tmp_path / "a")
    assert kept.last_number == 1
    kept.close()


@pytest.mark.parametrize("answer", [Refused("it is gone"), Bytes(b""), Bytes(bytes(64 * MIB))])
def test_what_is_not_whole_is_not_put_in_place(
    tmp_path: Path, line: Line, answer: Refused | Bytes
) -> None:
    line.instead = {Piece: encode(answer)}

    with pytest.raises(NoCopy):
        source(line).fetch(tmp_path / "a")

    assert not list((tmp_path / "a").iterdir())


def test_an_answer_that_cannot_be_read_is_none(tmp_path: Path, line: Line) -> None:
    line.instead = {Seek: b"\xc1"}

    with pytest.raises(NoCopy, match="no agent of ours"):
        source(line).fetch(tmp_path / "a")


def test_it_says_when_it_has_enough(tmp_path: Path, line: Line) -> None:
    line.instead = {Enough: encode(Refused("no more"))}

    assert source(line).fetch(tmp_path / "a") == RECORDS


def test_a_copy_leaves_the_disk_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_store(tmp_path / "b").close()
    monkeypatch.setattr(handout, "free_bytes", lambda _: handout.SPARED_BYTES)
    (tmp_path / "to").mkdir()

    with pytest.raises(OSError, match="a copy needs"):
        handout.hand_out(tmp_path / "b", tmp_path / "to")

    assert not list((tmp_path / "to").iterdir())
