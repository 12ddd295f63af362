"""What workers have each other store: whole, in order, and once, whoever of them dies."""

import msgspec

from relay.bus.envelopes import (
    Durable,
    ToFront,
)
from tests import plain
from tests.workers.shard.harness import (
    Clusters,
    ack,
    frames_of,
    local_of,
    receipt,
    to_user,
)

A, B = 1, 2  # the sessions of Alice, who writes, and Bob


def heard(answer: list[ToFront]) -> list[bytes]:
    """What Alice is told."""
    return frames_of(answer, A)


def test_a_receipt_survives_the_death_of_either_worker(clusters: Clusters) -> None:
    """I1, I2: it is in the outbox when the message is out of the mailbox."""
    cluster = clusters(workers=2)
    author, acker = local_of(0, workers=2), local_of(1, workers=2)
    cluster.feed(to_user(author, acker, "M1"))

    cluster.kill(0)
    cluster.restart(1, ack(acker, "M1", author=author), committed=True)
    assert cluster.mail(acker) == []
    cluster.restart(1)
    cluster.start(0)

    assert [entry.receipt_for for entry in cluster.login(author, A)] == ["M1"]
    assert all(shard.tree("outbox") == {} for shard in cluster.shards)


def test_a_receipt_that_is_sent_again_is_stored_once(clusters: Clusters) -> None:
    """The peer's answer is lost with the connection, after the receipt was confirmed and gone."""
    cluster = clusters(workers=2)
    author, acker = local_of(0, workers=2), local_of(1, workers=2)
    cluster.login(author, A)
    cluster.feed(to_user(author, acker, "M1"))
    cluster.cut(0, 1)
    cluster.feed(ack(acker, "M1", author=author))
    (entry,) = cluster.shards[1].tree("outbox").values()
    again = msgspec.msgpack.decode(entry, type=Durable)

    assert len(heard(cluster.join(0, 1))) == 1
    ((seq, _),) = cluster.mail(author)
    cluster.feed(plain.confirmed(A, seq))

    answer = cluster.decide(
        lambda shard: shard.apply(cluster.shards[1].identity, 1, again), worker=0
    )
    assert answer == []
    assert cluster.mail(author) == []


def test_a_receipt_that_is_sent_again_to_the_next_incarnation_is_stored_once(
    clusters: Clusters,
) -> None:
    """The author's worker dies when it has stored the receipt, before it could say so."""
    cluster = clusters(workers=2)
    author, acker = local_of(0, workers=2), local_of(1, workers=2)
    cluster.login(author, A)
    cluster.feed(to_user(author, acker, "M1"))
    cluster.cut(0, 1)
    cluster.feed(ack(acker, "M1", author=author))
    ((seq, entry),) = cluster.shards[1].tree("outbox").items()
    waiting = msgspec.msgpack.decode(entry, type=Durable)
    cluster.decide(lambda shard: shard.apply(cluster.shards[1].identity, 1, waiting), worker=0)
    assert seq[-8:] == waiting.seq.to_bytes(8, "big")
    cluster.kill(0)

    cluster.start(0)
    assert cluster.join(0, 1) == []

    assert len(cluster.mail(author)) == 1
    assert cluster.shards[1].tree("outbox") == {}


def test_receipts_to_a_worker_that_is_away_come_in_order(clusters: Clusters) -> None:
    cluster = clusters(workers=2)
    author, acker = local_of(0, workers=2), local_of(1, workers=2)
    cluster.login(author, A)
    cluster.feed(*(to_user(author, acker, f"M{number}") for number in range(5)))
    cluster.cut(0, 1)
    for number in range(5):
        cluster.feed(ack(acker, f"M{number}", author=author))

    answer = cluster.join(0, 1)

    assert heard(answer) == [receipt(author, acker, f"M{number}") for number in range(5)]
