"""What of a log may be purged: never what a standby lacks, or a host that was away for a while."""

from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.trimming import KEPT_RECORDS, KEPT_S, PRESSED_FILL, Trimming


def aged(last: int = 1000) -> Trimming:
    trimming = Trimming()
    trimming.note(last, 0.0)
    return trimming


def test_what_all_have_and_is_old_goes_but_for_what_a_start_looks_back_for() -> None:
    trimming = aged(1000)

    assert trimming.up_to([2000, 1500], KEPT_S, copied=None) == 1000 - KEPT_RECORDS
    assert trimming.up_to([2000, 800], KEPT_S, copied=None) == 800 - KEPT_RECORDS
    assert trimming.up_to([2000, 10], KEPT_S, copied=None) == 0


def test_what_is_young_stays() -> None:
    trimming = aged(1000)
    trimming.note(9000, 300.0)

    assert trimming.up_to([9000, 9000], KEPT_S - 1, copied=None) == 0
    assert trimming.up_to([9000, 9000], KEPT_S + 1, copied=None) == 1000 - KEPT_RECORDS
    assert trimming.up_to([9000, 9000], KEPT_S + 299, copied=None) == 1000 - KEPT_RECORDS
    assert trimming.up_to([9000, 9000], KEPT_S + 300, copied=None) == 9000 - KEPT_RECORDS


def test_nothing_goes_while_a_standby_has_nothing_or_there_is_none() -> None:
    assert aged().up_to([1000, None], KEPT_S, copied=None) == 0
    assert aged().up_to([], KEPT_S, copied=None) == 0
    assert aged().up_to([1000], KEPT_S, copied=None) == 0, "who has it may be lost"


def test_what_follows_a_copy_that_is_being_read_stays() -> None:
    assert aged(1000).up_to([1000, 1000], KEPT_S, copied=300) == 300 - KEPT_RECORDS


def test_who_has_just_begun_purges_nothing() -> None:
    assert Trimming().up_to([1000, 1000], 10 * KEPT_S, copied=None) == 0


@given(
    st.lists(st.tuples(st.floats(0, 60), st.integers(0, 500)), min_size=1, max_size=60),
    st.lists(st.integers(0, 10_000), min_size=2),
)
def test_it_never_passes_what_is_lacked_or_young(
    steps: list[tuple[float, int]], synced: list[int]
) -> None:
    trimming = Trimming()
    now_s, last, history = 0.0, 0, []
    for wait_s, more in steps:
        now_s, last = now_s + wait_s, last + more
        trimming.note(last, now_s)
        history.append((now_s, last))

    up_to = trimming.up_to(synced, now_s, copied=None)

    old = [number for at_s, number in history if now_s - at_s >= KEPT_S]
    assert 0 <= up_to <= min([*synced, max(old, default=0)])


def test_a_log_that_fills_up_keeps_nothing_for_its_age_but_all_that_somebody_lacks() -> None:
    trimming = Trimming()
    trimming.note(9000, 0.0)

    assert trimming.up_to([9000, 8000], 1.0, copied=None, fill=PRESSED_FILL) == 8000 - KEPT_RECORDS
    assert trimming.up_to([9000, 8000], 1.0, copied=70, fill=PRESSED_FILL) == 70 - KEPT_RECORDS
    assert trimming.up_to([9000, None], 1.0, copied=None, fill=1.0) == 0
    assert trimming.up_to([9000, 8000], 1.0, copied=None, fill=PRESSED_FILL - 0.01) == 0
