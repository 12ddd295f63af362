"""Ids for new messages: of the customary form, and in the order of time."""

import re
import time

import pytest

from relay.client.ids import new_message_id


def test_ids_look_like_the_sheets_and_differ() -> None:
    ids = {new_message_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(re.fullmatch("3EB0[0-9A-F]{20}", i) for i in ids)


def test_ids_of_later_come_behind_those_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def ids_at(now_s: float) -> set[str]:
        monkeypatch.setattr(time, "time", lambda: now_s)
        return {new_message_id() for _ in range(100)}

    assert max(ids_at(1_800_000_000.9)) < min(ids_at(1_800_000_001.0))
