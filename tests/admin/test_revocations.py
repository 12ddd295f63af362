"""How revocations are kept: whichever denies more, while there is something to deny."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.admin.revocations import KEPT_S, Revocations
from relay.auth.revoked import Revocation, TokenRevoked, UserRevoked
from relay.auth.secretfile import MAX_BYTES
from relay.disk.layout import revocations_path
from relay.errors import DiskError, SettingsError

NOW_S = 1_000_000.0
LEEWAY_S = 5.0


@pytest.fixture
def kept(tmp_path: Path) -> Revocations:
    return Revocations(tmp_path, leeway_s=LEEWAY_S)


def token(name: str = "t1", expires_s: int = 0, by: str = "socket") -> TokenRevoked:
    return TokenRevoked(id=name, expires_s=expires_s, since_ms=1, by=by)


def user(before_s: int, expires_s: int = 0, by: str = "socket") -> UserRevoked:
    return UserRevoked(user="alice", before_s=before_s, expires_s=expires_s, since_ms=1, by=by)


def test_they_are_kept_in_their_order_and_go_one_by_one(kept: Revocations) -> None:
    for each in (token("a"), user(10), token("b")):
        assert kept.add(each, NOW_S) is each

    assert kept.all(NOW_S) == [token("a"), user(10), token("b")]
    assert kept.remove(token("a", by="other"), NOW_S)
    assert not kept.remove(token("a"), NOW_S)
    assert kept.all(NOW_S) == [user(10), token("b")]


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        (
            token(expires_s=2_000_000),
            token(expires_s=2_000_000, by="b"),
            token(expires_s=2_000_000),
        ),
        (
            token(expires_s=2_000_000),
            token(expires_s=1_500_000, by="b"),
            token(expires_s=2_000_000),
        ),
        (
            token(expires_s=1_500_000),
            token(expires_s=2_000_000, by="b"),
            token(expires_s=2_000_000, by="b"),
        ),
        (token(), token(expires_s=2_000_000, by="b"), token()),
        (token(expires_s=2_000_000), token(by="b"), token(by="b")),
        (user(10), user(9, by="b"), user(10)),
        (user(10), user(11, by="b"), user(11, by="b")),
        (user(10, 1_500_000), user(9, by="b"), user(10, by="b")),
        (user(10), user(11, 1_500_000, by="b"), user(11, by="b")),
    ],
)
def test_of_two_for_the_same_tokens_what_denies_more_counts(
    kept: Revocations, first: Revocation, second: Revocation, counts: Revocation
) -> None:
    kept.add(first, NOW_S)

    assert kept.add(second, NOW_S) == counts
    assert kept.all(NOW_S) == [counts]


def test_one_that_has_expired_is_told_no_more_and_goes_a_day_later(
    kept: Revocations, tmp_path: Path
) -> None:
    expires_s = int(NOW_S) + 10
    over_s = expires_s + LEEWAY_S
    kept.add(token("old", expires_s), NOW_S)

    assert kept.all(over_s - 0.1) == [token("old", expires_s)]
    assert kept.all(over_s) == []
    assert not kept.remove(token("none"), over_s)
    kept.add(token("next"), over_s + KEPT_S - 1)  # a clock may be ahead for a while
    assert "old" in revocations_path(tmp_path).read_text()
    kept.add(token("last"), over_s + KEPT_S)

    assert "old" not in revocations_path(tmp_path).read_text()
    assert kept.all(over_s + KEPT_S) == [token("next"), token("last")]


def test_one_that_has_expired_is_removed_all_the_same_and_was_not_there(
    kept: Revocations, tmp_path: Path
) -> None:
    kept.add(token("old", int(NOW_S) + 10), NOW_S)

    assert not kept.remove(token("old"), NOW_S + 100)
    assert "old" not in revocations_path(tmp_path).read_text()


def test_more_than_fronts_read_is_refused_and_leaves_it_as_it_was(
    kept: Revocations, tmp_path: Path
) -> None:
    large = [token(f"{n}" + "x" * 200_000) for n in range(5)]
    for each in large:
        kept.add(each, NOW_S)

    with pytest.raises(DiskError, match="restore tokens first"):
        kept.add(token("5" + "x" * 200_000), NOW_S)

    assert revocations_path(tmp_path).stat().st_size <= MAX_BYTES
    assert kept.all(NOW_S) == large
    assert kept.remove(large[0], NOW_S)
    kept.add(token("5" + "x" * 200_000), NOW_S)


def test_nothing_is_written_over_one_that_is_damaged(kept: Revocations, tmp_path: Path) -> None:
    revocations_path(tmp_path).write_text("{")

    for act in (kept.add, kept.remove):
        with pytest.raises(SettingsError, match="is damaged"):
            act(token(), NOW_S)
    assert revocations_path(tmp_path).read_text() == "{"
