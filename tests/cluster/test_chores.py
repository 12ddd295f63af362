"""What an agent does beside its beats, where the engine has what nobody can read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay.cluster import chores
from relay.cluster.chores import Chores
from relay.cluster.requests import Placing
from relay.settings.clustering import ClusterSettings


def test_what_was_settled_and_cannot_be_read_ends_no_agent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value = b'{"away":["b"]}'
    monkeypatch.setattr(chores, "kv_get", lambda *_: SimpleNamespace(value=value, revision=1))
    wire: Any = None
    settings = ClusterSettings(name="c", hosts=("a=127.0.0.1", "b=127.0.0.2"), host_name="a")
    does = Chores(settings, tmp_path)
    assert does._read_placing(wire) == ""

    value = b'{"away":1}'

    assert "cannot be read" in does._read_placing(wire)
    assert does.take().placing == Placing(away=("b",))
