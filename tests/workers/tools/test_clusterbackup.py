"""Of whom a copy of a range is asked, whose word counts for its log's end, and what is left out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay.cluster.jetstream import (
    Copies,
    NoMajority,
    Replica,
    StreamInfo,
    StreamState,
    log_config,
)
from relay.cluster.requests import ClusterStatus, RangeStatus
from relay.cluster.shared import Kept
from relay.settings.tables import Settings
from workers.tools import clusterbackup
from workers.tools.clusterbackup import ClusterBackup, holders_of, last_of

SECOND_NS = 1_000_000_000
WIRE: Any = None


def test_copies_are_asked_of_standbys_that_have_enough_and_then_of_the_owner() -> None:
    standing = {"b": 9_000, "c": 9_900, "d": 10, "a": 9_999}
    said = ClusterStatus(
        seen_by="a",
        has_majority=True,
        isolated=False,
        hosts={},
        ranges=(RangeStatus(owner="a", last=10_000, standing=standing),),
    )

    assert list(holders_of(said, 0, begins_behind=0)) == ["c", "b", "a"]
    assert list(holders_of(said, 0, begins_behind=9_500)) == ["c", "a"]
    assert list(holders_of(said, 1, begins_behind=0)) == []


@pytest.mark.parametrize(
    ("replicas", "is_believed"),
    [
        ((Replica("b", active=SECOND_NS), Replica("c", active=60 * SECOND_NS)), True),
        ((Replica("b", active=5 * SECOND_NS), Replica("c", active=5 * SECOND_NS)), False),
        ((Replica("b", active=0, offline=True), Replica("c", active=5 * SECOND_NS)), False),
        ((Replica("b", active=SECOND_NS),), True),  # the third is being replaced
        ((), False),
    ],
)
def test_who_leads_a_log_is_believed_while_a_majority_follows(
    replicas: tuple[Replica, ...], is_believed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = StreamInfo(
        config=log_config("c", 0, replicas=3, max_bytes=1),
        state=StreamState(last_seq=12),
        cluster=Copies("a", replicas),
    )
    monkeypatch.setattr(clusterbackup, "stream_info", lambda *_: info)

    if is_believed:
        assert last_of(WIRE, "c-0") == 12
    else:
        with pytest.raises(NoMajority, match="c-0"):
            last_of(WIRE, "c-0")


def test_keys_and_settings_are_in_no_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all hosts have alike of their files is for its operator to keep: there are secrets."""
    monkeypatch.setattr(clusterbackup, "read_kept", lambda *_, **__: Kept(b"{}", 1))
    backup: Any = ClusterBackup(Settings(), tmp_path / "monday", print)
    backup._caller = SimpleNamespace(wire=lambda: WIRE)
    backup._part.mkdir()

    assert set(backup._take_shared()) == {"groups", "bans", "revocations"}
    names = {path.name for path in backup._part.iterdir()}
    assert names == {"groups-made.json", "banned.json", "revoked.json"}
