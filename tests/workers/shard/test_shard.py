"""A shard as a whole: who decides on what, and what is said of what nobody decides on."""

from __future__ import annotations

from typing import get_args

from relay.bus.envelopes import Content, Durable, ToWorker
from relay.protocol.slots import ShardMap
from tests.workers.shard.harness import SETTINGS
from workers.shard.shard import Shard


def test_somebody_decides_on_every_envelope_that_a_worker_may_get() -> None:
    """But for an outbox's entry, which says by `apply` which peer it is from."""
    shard = Shard(0, ShardMap(1), SETTINGS)

    assert set(shard._handlers) == set(get_args(ToWorker)) - {Durable}


def test_somebody_applies_every_content_that_a_peer_may_send() -> None:
    shard = Shard(0, ShardMap(1), SETTINGS)

    assert set(shard.peers._appliers) == set(get_args(Content))
