"""What was fetched before a start: taken where it is good, and never waited for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from relay.process.memo import read_memo
from relay.settings.tables import AuthSettings, ServerSettings, Settings, TokenSettings
from relay.supervision import keysource
from relay.supervision.fetching import MOST_KEPT_BYTES, Kept
from relay.supervision.keysource import KeySource

URL = "https://id.example/keys"


def settings_in(data: Path) -> Settings:
    return Settings(
        server=ServerSettings(data=str(data)),
        auth=AuthSettings(mode="token"),
        auth_token=TokenSettings(algorithm="EdDSA", jwks_url=URL),
    )


def source_in(data: Path, monkeypatch: pytest.MonkeyPatch) -> KeySource:
    """Return one that has begun, and fetches nothing."""
    monkeypatch.setattr(KeySource, "look", lambda self, now_s: None)
    source = KeySource(settings_in(data), now_s=0.0)
    source.begin(0.0)
    return source


def test_keys_that_were_kept_are_there_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(URL, msgspec.Raw(b'{"keys":[]}'))
    (tmp_path / "token-keys.json").write_bytes(msgspec.json.encode(kept))

    source = source_in(tmp_path, monkeypatch)

    assert source.memo is not None
    assert read_memo(source.memo) == b'{"keys":[]}'
    os.close(source.memo)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "Is a fifo, and must be a file"),
        (os.mkdir, "Is a directory, and must be a file"),
        (lambda path: os.symlink("/dev/zero", path), "Is a device, and must be a file"),
        (
            lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 1 << 40),
            f"Has over {MOST_KEPT_BYTES} bytes",
        ),
        (lambda path: path.write_bytes(b'{"url": "\xff"}'), "can't decode byte"),
        (lambda path: path.write_bytes(b'{"url": "", "x": ' + b"[" * 100_000), "recursion"),
    ],
)
def test_what_cannot_be_read_of_them_costs_a_line_and_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object], why: str
) -> None:
    make(tmp_path / "token-keys.json")

    with capture_logs() as lines:
        source = source_in(tmp_path, monkeypatch)

    [line] = lines
    assert line["event"] == "auth.kept_keys_unusable"
    assert why in line["reason"]
    assert source.memo is None


def test_an_answer_that_another_process_could_just_read_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher may nest what it likes, and how deep one can read is a matter of one's stack."""

    def start(arguments: list[str], *, pass_fds: tuple[int, ...], stdin: int) -> Any:
        depth = sys.getrecursionlimit()
        os.write(pass_fds[1], b'{"keys": {"x": ' + b"[" * depth + b"]" * depth + b"}}")
        return SimpleNamespace(pid=7, wait=lambda: 0)

    monkeypatch.setattr(keysource, "start", start)
    with capture_logs() as lines:
        source = KeySource(settings_in(tmp_path), now_s=0.0)
        source.begin(0.0)
        assert source.has_ended(7, 1.0) is False

    [line] = lines
    assert line["reason"] == "its answer is nested too deeply"
