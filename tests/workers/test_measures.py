"""Which batches of a worker are measured: not so many that it is felt."""

from workers.measures import EVERY_S, Measures


def test_a_batch_is_measured_where_none_was_for_a_while() -> None:
    measures = Measures()
    measured = 0
    for n in range(1000):  # of a millisecond each
        begun_s = 100 + n / 1000
        if measures.is_due(begun_s):
            measures.add(begun_s, 7, deciding_s=0.0004, commit_s=0.0002, sync_s=0.0001)
            measured += 1

    assert 0.9 / EVERY_S <= measured <= 1 / EVERY_S
    assert sum(measures.batch_work.counts) == sum(measures.sync_s.counts) == measured
    assert measures.batch_work.sum == 7 * measured


def test_a_batch_without_a_sync_is_none_of_those_that_were_synced() -> None:
    measures = Measures()

    measures.add(1.0, 1, deciding_s=0.1, commit_s=0.1, sync_s=0)

    assert sum(measures.commit_s.counts) == 1
    assert sum(measures.sync_s.counts) == 0
