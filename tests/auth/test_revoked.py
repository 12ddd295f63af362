"""Which tokens operators have revoked."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.auth.contract import Denied, Granted
from relay.auth.revoked import (
    Revocation,
    RevocationBook,
    RevokedList,
    TokenRevoked,
    UserRevoked,
    revocations_file,
)
from relay.disk.layout import revocations_path
from relay.errors import SettingsError

REVOKED = Denied(401, "token: it was revoked")
TOKEN = TokenRevoked(id="t1", since_ms=1, by="socket")
USER = UserRevoked(user="alice", before_s=1000, since_ms=1, by="socket")


def revoke(data: Path, *revocations: Revocation) -> None:
    book = RevocationBook([*revocations])
    revocations_path(data).write_bytes(revocations_file(data).text(book, to_make_room=""))


def test_a_token_is_denied_by_its_name_whoever_shows_it(tmp_path: Path) -> None:
    revoke(tmp_path, TOKEN)
    revoked = RevokedList(tmp_path)

    assert revoked.denial("alice", Granted(9999, "t1", 5.0)) == REVOKED
    assert revoked.denial("bob", Granted(9999, "t1", 5.0)) == REVOKED
    assert revoked.denial("alice", Granted(9999, "t", 5.0)) is None
    assert revoked.denial("alice", Granted()) is None


@pytest.mark.parametrize(
    ("issued_s", "denied"), [(999, REVOKED), (999.9, REVOKED), (0, REVOKED), (1000, None)]
)
def test_of_a_user_all_of_before_are_denied_and_those_that_do_not_say_when(
    tmp_path: Path, issued_s: float, denied: Denied | None
) -> None:
    revoke(tmp_path, USER)
    revoked = RevokedList(tmp_path)

    assert revoked.denial("alice", Granted(9999, "t9", issued_s)) == denied
    assert revoked.denial("bob", Granted(9999, "t9", issued_s)) is None


def test_the_later_of_two_moments_counts_in_whatever_order_they_are(tmp_path: Path) -> None:
    early = UserRevoked(user="alice", before_s=10, since_ms=1, by="")
    for order in ((early, USER), (USER, early)):
        revoke(tmp_path, *order)
        assert RevokedList(tmp_path).denial("alice", Granted(9999, "", 500)) == REVOKED


def test_it_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    revoked = RevokedList(tmp_path)
    assert not revoked.refresh()

    revoke(tmp_path, TOKEN)
    assert revoked.refresh()
    assert not revoked.refresh()
    assert revoked.denial("alice", Granted(0, "t1")) == REVOKED

    revoke(tmp_path)
    assert revoked.refresh()
    assert revoked.denial("alice", Granted(0, "t1")) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"revocations": [',
        b'{"revocations": [{"kind": "other"}]}',
        b'{"revocations": [{"kind": "token", "id": "", "since_ms": 1, "by": ""}]}',
        b'{"revocations": [{"kind": "token", "id": "\xff", "since_ms": 1, "by": ""}]}',
        b'{"x": ' + b"[" * 100_000,
    ],
)
def test_one_that_is_damaged_stops_a_start_and_changes_nothing_later(
    tmp_path: Path, content: bytes
) -> None:
    revoke(tmp_path, TOKEN)
    revoked = RevokedList(tmp_path)
    revocations_path(tmp_path).write_bytes(content)

    assert not revoked.refresh()
    assert revoked.denial("alice", Granted(0, "t1")) == REVOKED
    with pytest.raises(SettingsError, match="revocations: "):
        RevokedList(tmp_path)


def test_what_a_later_version_adds_is_no_damage(tmp_path: Path) -> None:
    one = '{"kind": "token", "id": "t1", "since_ms": 1, "by": "", "more": 1}'
    revocations_path(tmp_path).write_text(f'{{"revocations": [{one}], "more": 1}}')

    assert RevokedList(tmp_path).denial("alice", Granted(0, "t1")) == REVOKED
