"""Stores of a backup, handed out as an agent hands out copies."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.cluster.shelf import SHELF, Shelf, Shelved
from relay.cluster.transfers import (
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
    Wanted,
    decode_answer,
    encode,
)

SIZE = PIECE_BYTES + 7
CONTENT = bytes(range(256)) * (SIZE // 256) + bytes(SIZE % 256)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    path = tmp_path / "data.mdb"
    path.write_bytes(CONTENT)
    return Shelf({3: Shelved(path, Copied(12, SIZE))})


def ask(shelf: Shelf, request: Request, range_: int = 3) -> Answer | None:
    said = shelf.answer(encode(request), range_=range_)
    return None if said is None else decode_answer(said)


def test_whoever_seeks_reads_the_file_piece_by_piece(shelf: Shelf) -> None:
    assert ask(shelf, Seek("a")) == Holds(SHELF)
    assert ask(shelf, Wanted(3)) == Ready(Copied(12, SIZE))
    assert ask(shelf, Piece(3, 12, 0)) == Bytes(CONTENT[:PIECE_BYTES])
    assert ask(shelf, Piece(3, 12, PIECE_BYTES)) == Bytes(CONTENT[PIECE_BYTES:])
    assert ask(shelf, Enough(3, 12)) == Making()
    assert shelf.pieces == 2


def test_what_others_hand_out_by_now_is_not_sought_here_but_read_to_its_end(shelf: Shelf) -> None:
    shelf.left = {3}

    assert ask(shelf, Seek("a")) is None
    assert isinstance(ask(shelf, Piece(3, 12, 0)), Bytes)


@pytest.mark.parametrize(
    "request_", [Piece(3, 12, SIZE), Piece(3, 12, -1), Piece(3, 11, 0), Piece(1, 12, 0), Wanted(1)]
)
def test_what_is_not_in_the_backup_is_refused(shelf: Shelf, request_: Request) -> None:
    assert isinstance(ask(shelf, request_), Refused)


def test_of_a_range_that_it_has_not_it_says_nothing_and_to_noise_no(shelf: Shelf) -> None:
    assert ask(shelf, Seek("a"), range_=-1) is None
    deep = b"\x82\xa4type\xa4seek\xa4news" + b"\x91" * 100_000 + b"\xc0"
    for data in (b"\xc1", b"\x82\xa4type\xa4seek\xa4host\xa2\xff\xfe", deep):
        assert isinstance(decode_answer(shelf.answer(data, range_=3) or b""), Refused)
