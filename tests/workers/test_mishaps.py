"""What a worker leaves its next incarnation: refused writes, and stanzas that crash it."""

from pathlib import Path

import msgspec
import pytest

from relay.bus import envelopes
from relay.bus.envelopes import (
    LOGIN,
    Acked,
    Ask,
    Receipt,
    RequestNumber,
    SendToUser,
    ToWorker,
)
from relay.errors import DiskError
from tests import plain
from workers.mishaps import (
    CRASHES_ALLOWED,
    MAX_SUSPECTS,
    REFUSE_AFTER_WRITE_ERROR_MS,
    Mishaps,
    keep,
)

NOW_MS = 1_566_970_629_000


def send(request: int = 1, message_id: str = "M1") -> SendToUser:
    return SendToUser(
        RequestNumber(request), "alice", "bob", message_id, 1000, b"12345678", b"frame"
    )


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (send(1), send(77)),
        (plain.open_session(1, "bob", LOGIN, 0), plain.open_session(2, "bob", LOGIN, 9, 9)),
        (
            Ask(1, "bob", "notes", b"body", "7", "n1"),
            Ask(2, "bob", "notes", b"body", "", "n9"),
        ),
        (Acked("bob", ["M1"], 2, "alice", False, "bob", False, -1),) * 2,
        (plain.durable(5, Receipt("alice", "", "M1", "bob", 2, 1000)),) * 2,
    ],
)
def test_a_stanza_is_poison_once_it_has_crashed_the_worker_twice(
    tmp_path: Path, first: ToWorker, again: ToWorker
) -> None:
    """Also where another session, or the same one after a reconnect, sends it again."""
    assert CRASHES_ALLOWED == 2
    assert not Mishaps(tmp_path, 0).has_suspects
    Mishaps(tmp_path, 0).note_crash(first)
    assert not Mishaps(tmp_path, 0).is_poison(again)

    Mishaps(tmp_path, 0).note_crash(again)

    assert Mishaps(tmp_path, 0).has_suspects
    assert Mishaps(tmp_path, 0).is_poison(first)
    assert not Mishaps(tmp_path, 0).is_poison(send(message_id="M2"))
    assert not Mishaps(tmp_path, 1).has_suspects


@pytest.mark.slow
def test_the_oldest_suspects_are_forgotten(tmp_path: Path) -> None:
    mishaps = Mishaps(tmp_path, 0)
    for number in range(MAX_SUSPECTS + 1):
        mishaps.note_crash(send(message_id=f"M{number}"))
    mishaps.note_crash(send(message_id="M0"))
    mishaps.note_crash(send(message_id="M2"))

    assert not mishaps.is_poison(send(message_id="M0"))
    assert mishaps.is_poison(send(message_id="M2"))


def test_sends_are_refused_for_a_while_after_a_write_that_failed(tmp_path: Path) -> None:
    assert Mishaps(tmp_path, 0).write_refusal(now_ms=NOW_MS) == ""
    Mishaps(tmp_path, 0).note_write_error("No space left on device", now_ms=NOW_MS)

    refusal = Mishaps(tmp_path, 0).write_refusal(now_ms=NOW_MS + 1)
    assert refusal == "the store cannot be written: No space left on device"
    over_ms = NOW_MS + REFUSE_AFTER_WRITE_ERROR_MS
    assert Mishaps(tmp_path, 0).write_refusal(now_ms=over_ms) == ""
    assert Mishaps(tmp_path, 0).write_refusal(now_ms=NOW_MS - 1) == ""


def test_what_is_set_aside_is_kept_as_it_came_in_a_file_of_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "set-aside"

    first, again, other = (keep(directory, each) for each in (send(1), send(1), send(2, "M2")))

    assert first == again != other
    assert msgspec.msgpack.decode(first.read_bytes(), type=envelopes.SendToUser) == send(1)
    assert directory.stat().st_mode & 0o777 == 0o700


def test_what_cannot_be_kept_is_an_error_that_says_where(tmp_path: Path) -> None:
    (tmp_path / "set-aside").write_text("in the way")

    with pytest.raises(DiskError, match="set-aside"):
        keep(tmp_path / "set-aside", send(1))
