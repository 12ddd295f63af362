"""NATS servers of the operator are taken only if they sync always, and say so."""

import pytest

from relay.cluster.enginefacts import Facts, facts_of, unfit


def answer(name: str, config: str) -> Facts:
    found = facts_of(b'{"server":{"name":"%s"},"data":{%s}}' % (name.encode(), config.encode()))
    assert found
    return found


def always(name: str) -> Facts:
    return answer(name, '"config":{"sync_interval":120000000000,"sync_always":true}')


def test_three_that_sync_always_are_fit() -> None:
    assert unfit([always("a"), always("b"), always("c")]) == ""


def test_one_that_does_not_is_named() -> None:
    lazy = answer("b", '"config":{"sync_interval":120000000000}')

    problem = unfit([always("a"), lazy, always("c")])

    assert "NATS server b acks what it has not synced" in problem
    assert "sync_interval: always" in problem


def test_those_without_jetstream_do_not_count() -> None:
    without = answer("d", '"disabled":true')

    assert unfit([always("a"), always("b"), always("c"), without]) == ""
    assert "2 NATS servers with JetStream have answered" in unfit(
        [always("a"), always("b"), without]
    )
    assert "0 NATS servers" in unfit([])


@pytest.mark.parametrize("payload", [b"", b"no", b"[]", b'{"data":{"config":7}}', b"[" * 100_000])
def test_what_is_no_answer_says_nothing(payload: bytes) -> None:
    assert facts_of(payload) is None
