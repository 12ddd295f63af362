"""A shard as a whole: who decides on what, and what is said of what nobody decides on."""

from __future__ import annotations

from typing import get_args

import pytest

from relay.bus.envelopes import (
    LOGIN,
    Content,
    Durable,
    Receipt,
    Refused,
    SendToGroup,
    SendToUser,
    SessionRefused,
    ToWorker,
)
from relay.protocol.slots import ShardMap
from tests import plain
from tests.workers.shard.harness import (
    ALICE,
    BOB,
    FRONT,
    HIKE,
    SETTINGS,
    ClusterHarness,
    Clusters,
    to_group,
    to_user,
)
from workers.shard.shard import Shard


def test_somebody_decides_on_every_envelope_that_a_worker_may_get() -> None:
    """But for an outbox's entry, which says by `apply` which peer it is from."""
    shard = Shard(0, ShardMap(1), SETTINGS)

    assert set(shard._handlers) == set(get_args(ToWorker)) - {Durable}


def test_somebody_applies_every_content_that_a_peer_may_send() -> None:
    shard = Shard(0, ShardMap(1), SETTINGS)

    assert set(shard.peers._appliers) == set(get_args(Content))


@pytest.mark.parametrize("send", [to_user(ALICE, BOB, "M1"), to_group(ALICE, HIKE, "M1")])
def test_a_send_that_is_stale_or_set_aside_is_refused(
    cluster: ClusterHarness, send: SendToUser | SendToGroup
) -> None:
    """I7, I8."""
    (stale,) = cluster.decide(lambda shard: shard.refuse_stale(FRONT, send))
    (set_aside,) = cluster.decide(lambda shard: shard.set_aside(FRONT, None, send))

    assert isinstance(stale, Refused)
    assert isinstance(set_aside, Refused)
    assert (stale.request, stale.code) == (send.request, 503)
    assert (set_aside.request, set_aside.code) == (send.request, 500)
    assert cluster.counters()["stanzas_set_aside"] == 1


def test_a_login_that_is_stale_may_be_repeated_at_once_and_one_that_is_set_aside_not(
    cluster: ClusterHarness,
) -> None:
    login = plain.open_session(4, BOB, LOGIN, 0)

    (stale,) = cluster.decide(lambda shard: shard.refuse_stale(FRONT, login))
    (set_aside,) = cluster.decide(lambda shard: shard.set_aside(FRONT, None, login))

    assert isinstance(stale, SessionRefused)
    assert isinstance(set_aside, SessionRefused)
    assert (stale.session, stale.code, stale.retry_after_s) == (4, 503, 1)
    assert (set_aside.session, set_aside.code, set_aside.retry_after_s) == (4, 500, 0)


def test_what_nobody_waits_for_is_set_aside_without_a_word(cluster: ClusterHarness) -> None:
    for decide in (
        lambda shard: shard.set_aside(FRONT, None, plain.confirmed(1, 5)),
        lambda shard: shard.refuse_stale(FRONT, plain.confirmed(1, 5)),
    ):
        assert cluster.decide(decide) == []


def test_an_entry_that_is_set_aside_is_confirmed_so_that_its_peer_forgets_it(
    clusters: Clusters,
) -> None:
    cluster = clusters(workers=2)
    entry = plain.durable(5, Receipt(ALICE, "", "M1", BOB, 2, 1000))

    effects = cluster.shards[0].turn(
        lambda shard: shard.set_aside(b"worker-1-1", 1, entry), now_ms=cluster.now_ms
    )

    assert effects.applied[b"worker-1-1"].seq == 5
    assert cluster.mail(ALICE) == []
