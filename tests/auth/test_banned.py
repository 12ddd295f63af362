"""Whom operators have thrown out, whatever mode lets in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay.auth.banned import Ban, BanBook, BanList, bans_file
from relay.auth.contract import Credentials, Denied, Granted, Peer, Verdict
from relay.auth.listed import Listed
from relay.disk.layout import bans_path
from relay.errors import SettingsError

BAN = Ban("mallory", 1, "socket", "spam")


class Mode:
    """A mode that finds what the test says."""

    def __init__(self, verdict: Verdict, *, later: bool = False) -> None:
        self.verdict = verdict
        self.later = later

    def check(self, credentials: Credentials, peer: Peer, *, now_s: float):  # type: ignore[no-untyped-def]
        return self._wait() if self.later else self.verdict

    async def _wait(self) -> Verdict:
        return self.verdict

    def holds(self, user: str, granted: Granted) -> bool:
        return user != "ended"

    def refresh(self) -> bool:
        return False

    def take_keys(self, content: bytes) -> None: ...

    async def close(self) -> None: ...


def check(banning: Listed, user: str) -> object:
    verdict = banning.check(Credentials(user, None), Peer(), now_s=0.0)
    return verdict if isinstance(verdict, Granted | Denied) else asyncio.run(verdict)


def ban(data: Path, *bans: Ban) -> None:
    bans_path(data).write_bytes(bans_file(data).text(BanBook([*bans]), to_make_room=""))


@pytest.mark.parametrize("mode", [None, Mode(Granted()), Mode(Granted(), later=True)])
def test_one_who_is_banned_is_refused_in_every_mode(tmp_path: Path, mode: Mode | None) -> None:
    ban(tmp_path, BAN)
    banning = Listed(mode, BanList(tmp_path))

    assert check(banning, "mallory") == Denied(403, "this user may not log in")
    assert check(banning, "alice") == Granted()
    assert not banning.holds("mallory", Granted())
    assert banning.holds("alice", Granted())


def test_one_who_shows_nothing_good_does_not_learn_who_is_banned(tmp_path: Path) -> None:
    ban(tmp_path, BAN)
    banning = Listed(Mode(Denied(401, "no")), BanList(tmp_path))

    assert check(banning, "mallory") == Denied(401, "no")


def test_the_list_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    bans = BanList(tmp_path)
    banning = Listed(None, bans)
    assert not banning.refresh()

    ban(tmp_path, BAN)
    assert banning.refresh()
    assert not banning.refresh()
    assert "mallory" in bans

    ban(tmp_path)
    assert banning.refresh()
    assert "mallory" not in bans


def test_a_list_that_is_damaged_keeps_who_is_banned_and_stops_a_start(tmp_path: Path) -> None:
    ban(tmp_path, BAN)
    bans = BanList(tmp_path)
    bans_path(tmp_path).write_text('{"bans": [')

    assert not bans.refresh()
    assert "mallory" in bans
    with pytest.raises(SettingsError, match="is damaged"):
        BanList(tmp_path)


def test_nobody_is_the_operator_whoever_is_banned(tmp_path: Path) -> None:
    ban(tmp_path, BAN)
    banning = Listed(Mode(Granted()), BanList(tmp_path, "operator"))

    assert check(banning, "operator") == Denied(403, "this user may not log in")
    assert check(banning, "mallory") == Denied(403, "this user may not log in")
    assert check(banning, "operators") == Granted()
    assert not banning.refresh()
    assert check(banning, "operator") == Denied(403, "this user may not log in")


def test_without_an_operator_an_empty_name_is_nobody(tmp_path: Path) -> None:
    assert "" not in BanList(tmp_path)


@pytest.mark.parametrize("content", [b'{"bans": [{"user": "\xff"}]}', b'{"x": ' + b"[" * 100_000])
def test_a_list_that_is_damaged_is_refused_in_a_line(tmp_path: Path, content: bytes) -> None:
    bans_path(tmp_path).write_bytes(content)

    with pytest.raises(SettingsError, match="is damaged"):
        BanList(tmp_path)
