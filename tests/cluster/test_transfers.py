"""What a host hands out: copies that are made when asked for, read by pieces, and let go."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cluster.transfers import (
    KEPT_S,
    MOST_COPIES,
    PIECE_BYTES,
    Answer,
    Bytes,
    Copied,
    Enough,
    Holds,
    Making,
    Piece,
    Ready,
    Refused,
    Request,
    Seek,
    Transfers,
    Wanted,
    decode_answer,
    encode,
)

SIZE = PIECE_BYTES + 7
CONTENT = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)


class Desk:
    """Host a, with stores of ranges 0 to 4, whose copies are made by processes of a test."""

    def __init__(self, directory: Path) -> None:
        self.now_s = 100.0
        self.script = f'print(\'{{"number":12,"size":{SIZE}}}\')'
        self.started: list[subprocess.Popen[str]] = []
        self.directory = directory
        self.transfers = Transfers(
            "a", directory, lambda r: Path(f"store-{r}") if 0 <= r < 5 else None, self._start
        )

    def _start(self, arguments: list[str]) -> subprocess.Popen[str]:
        assert arguments[::2] == ["--store", "--to"]
        to = Path(arguments[3])
        assert not list(to.iterdir())
        (to / "data.mdb").write_bytes(CONTENT)
        process = subprocess.Popen(
            [sys.executable, "-c", self.script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def ask(self, request: Request, range_: int = -1) -> Answer | None:
        answer = self.transfers.answer(encode(request), self.now_s, range_=range_)
        return None if answer is None else decode_answer(answer)

    def made(self, range_: int) -> Answer | None:
        """Have a copy made; return what is said when it is."""
        self.ask(Wanted(range_))
        self.started[-1].wait(20)
        return self.ask(Wanted(range_))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "copies")
    yield desk
    desk.transfers.close()


def test_who_holds_a_range_says_so_to_others_alone(desk: Desk) -> None:
    assert desk.ask(Seek("b"), range_=0) == Holds("a")
    assert desk.ask(Seek("a"), range_=0) is None
    assert desk.ask(Seek("b"), range_=9) is None
    assert desk.ask(Seek("b")) is None


def test_a_copy_is_made_once_for_all_who_ask_and_read_by_pieces(desk: Desk) -> None:
    assert desk.ask(Wanted(0)) == Making()
    desk.started[0].wait(20)

    assert desk.ask(Wanted(0)) == desk.ask(Wanted(0)) == Ready(Copied(12, SIZE))
    assert len(desk.started) == 1
    assert desk.ask(Piece(0, 12, 0)) == Bytes(CONTENT[:PIECE_BYTES])
    assert desk.ask(Piece(0, 12, PIECE_BYTES)) == Bytes(CONTENT[PIECE_BYTES:])


@pytest.mark.parametrize(
    "request_", [Piece(0, 12, SIZE), Piece(0, 12, -1), Piece(0, 11, 0), Piece(1, 12, 0)]
)
def test_what_no_copy_has_is_refused(desk: Desk, request_: Piece) -> None:
    desk.made(0)

    assert isinstance(desk.ask(request_), Refused)


def test_a_range_that_is_not_here_and_what_is_no_request_are_refused(desk: Desk) -> None:
    assert isinstance(desk.ask(Wanted(9)), Refused)
    deep = b"\x82\xa4type\xa4seek\xa4news" + b"\x91" * 100_000 + b"\xc0"
    for data in (b"\xc1", b"\x82\xa4type\xa4seek\xa4host\xa2\xff\xfe", deep):
        answer = desk.transfers.answer(data, desk.now_s)
        assert isinstance(decode_answer(answer or b""), Refused)


def test_what_a_copy_failed_of_is_said_and_the_next_one_may_succeed(desk: Desk) -> None:
    good, desk.script = desk.script, "import sys; sys.exit('the disk is full')"
    assert desk.made(0) == Refused("the disk is full")
    assert not list(desk.directory.iterdir())

    desk.script = good
    assert isinstance(desk.made(0), Ready)


def test_copies_are_few_at_a_time_and_one_that_was_read_makes_room(desk: Desk) -> None:
    for range_ in range(MOST_COPIES):
        desk.made(range_)
    assert isinstance(desk.ask(Wanted(MOST_COPIES)), Refused)

    desk.ask(Enough(0, 12))

    assert desk.ask(Wanted(MOST_COPIES)) == Making()
    assert isinstance(desk.ask(Piece(0, 12, 0)), Refused)
    assert isinstance(desk.ask(Piece(1, 12, 0)), Bytes)


def test_who_still_reads_a_copy_keeps_it_though_another_has_it(desk: Desk) -> None:
    for range_ in range(MOST_COPIES):
        desk.made(range_)
    desk.ask(Enough(0, 12))
    desk.ask(Piece(0, 12, 0))

    assert isinstance(desk.ask(Wanted(MOST_COPIES)), Refused)


def test_a_copy_that_nobody_reads_goes_and_its_process_too(desk: Desk) -> None:
    desk.made(0)
    desk.script = "import time; time.sleep(600)"
    desk.ask(Wanted(1))
    desk.now_s += KEPT_S
    desk.transfers.tick(desk.now_s)
    assert desk.transfers.copied() == {0: 12, 1: 0}

    desk.now_s += 1
    desk.transfers.tick(desk.now_s)

    assert desk.transfers.copied() == {}
    assert not list(desk.directory.iterdir())
    assert desk.started[1].poll() is not None


def test_what_an_earlier_agent_left_goes_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "copies" / "range-3").mkdir(parents=True)

    Desk(tmp_path / "copies").transfers.close()

    assert not (tmp_path / "copies" / "range-3").exists()
