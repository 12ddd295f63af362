"""Tables that are read in a terminal and in Markdown."""

import math

import pytest

from tests.bench.tables import number, table


def test_columns_line_up_and_numbers_stand_to_the_right() -> None:
    assert table(("row", "µs"), [["a", "1,000"], ["long name", "2"]]) == (
        "| row       |    µs |\n"
        "| --------- | ----: |\n"
        "| a         | 1,000 |\n"
        "| long name |     2 |\n"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (1234.5, "1,234"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.1234, "0.123"),
        (0.0, "0"),
        (math.nan, "-"),
    ],
)
def test_three_digits_count(value: float, told: str) -> None:
    assert number(value) == told
