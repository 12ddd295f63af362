"""What counts as a difference between two commits."""

import math
import random

import pytest

from tests.bench.price.verdict import LEVEL, Comparison, beyond_noise, compare, student_chance


@pytest.mark.parametrize(
    ("t", "freedom", "chance"),
    [  # from a printed table of the distribution, both sides
        (12.706, 1, 0.05),
        (4.303, 2, 0.05),
        (3.182, 3, 0.05),
        (2.776, 4, 0.05),
        (4.604, 4, 0.01),
        (2.262, 9, 0.05),
        (3.169, 10, 0.01),
        (2.042, 30, 0.05),
    ],
)
def test_students_distribution_is_that_of_the_tables(t: float, freedom: int, chance: float) -> None:
    assert student_chance(t, freedom) == pytest.approx(chance, abs=2e-4)
    assert student_chance(-t, freedom) == student_chance(t, freedom)


def test_nothing_is_far_from_itself() -> None:
    assert student_chance(0.0, 4) == 1.0
    assert compare([(5.0, 5.0)] * 5) == Comparison((1.0,) * 5, 1.0, 1.0)


def test_a_ratio_is_b_to_a_and_its_median_is_told() -> None:
    found = compare([(100.0, 50.0), (100.0, 80.0), (200.0, 120.0)])

    assert found.ratios == (0.5, 0.8, 0.6)
    assert found.median == 0.6


def test_a_figure_that_is_missing_or_nothing_makes_no_pair() -> None:
    assert compare([(math.nan, 1.0), (1.0, 0.0), (2.0, 1.0)]).ratios == (0.5,)
    assert math.isnan(compare([]).median)


def test_two_pairs_say_nothing_however_clear_they_look() -> None:
    assert not beyond_noise([compare([(100.0, 10.0), (100.0, 11.0)])])[0]


def test_pairs_that_agree_are_a_difference_and_pairs_that_do_not_are_none() -> None:
    agreeing = compare([(100.0, b) for b in (79.0, 82.0, 80.0, 84.0, 78.0)])
    scattered = compare([(100.0, b) for b in (60.0, 115.0, 85.0, 70.0, 104.0)])

    assert beyond_noise([agreeing, scattered]) == [True, False]


def test_what_nobody_would_act_on_is_no_difference_however_sure_it_is() -> None:
    sure = compare([(100.0, b) for b in (101.0, 101.1, 100.9, 101.0, 101.05)])

    assert sure.chance < LEVEL / 10
    assert beyond_noise([sure]) == [False]


def test_where_many_figures_differ_each_needs_less_than_it_would_among_many_that_do_not() -> None:
    doubtful = Comparison((0.9,) * 5, 0.9, 0.03)
    sure = Comparison((0.5,) * 5, 0.5, 0.0001)
    same = Comparison((1.0,) * 5, 1.0, 0.9)

    assert beyond_noise([doubtful, sure, sure, sure])[0]
    assert not beyond_noise([doubtful, same, same, same])[0]


def test_a_table_of_a_commit_against_itself_marks_something_once_in_twenty() -> None:
    # As noisy as runs on a busy machine are: single pairs differ by 15 %, a few by much more.
    draw = random.Random(20)

    def run() -> float:
        return math.exp(draw.gauss(4.0, 0.07) + (draw.random() < 0.1) * draw.gauss(0, 0.3))

    tables = 400
    marked = sum(
        any(beyond_noise([compare([(run(), run()) for _ in range(5)]) for _ in range(30)]))
        for _ in range(tables)
    )

    assert marked <= tables * LEVEL * 1.5


def test_a_tenth_less_is_found_in_five_pairs_where_runs_differ_by_three_percent() -> None:
    draw = random.Random(21)
    found = 0
    for _ in range(100):
        pairs = [(draw.gauss(100, 2), draw.gauss(88, 2)) for _ in range(5)]
        found += beyond_noise([compare(pairs)])[0]

    assert found >= 95
