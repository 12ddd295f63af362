"""Text of others on a screen."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.client.screen import CONTINUATION, columns, folded, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 日本 👩‍👩‍👧 ✓✓", "naïve 日本 👩‍👩‍👧 ✓✓"),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
        ("\x1b[2J\x1b[31mred", "␛[2J␛[31mred"),
        ("\x9b31mred", "�31mred"),
        ("a\nb\r\nc\rd", "a ⏎ b ⏎ c␍d"),
        ("a\u2028b\u2029c\x85d", "a ⏎ b ⏎ c�d"),
        ("a\tb\x00c\x08d\x7fe", "a b␀c␈d�e"),
        ("abc\u202edef\u2066g\u200fh", "abc�def�g�h"),
        ("\ud800", "�"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_shown_text_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)

    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


# -- folding -------------------------------------------------------------------------------------


def test_a_line_that_fits_stays_one() -> None:
    assert folded("10:48 919428284313: hi", 80) == ["10:48 919428284313: hi"]
    assert folded("", 80) == [""]


def test_a_long_line_goes_on_behind_a_mark_after_a_space_where_there_is_one() -> None:
    assert folded("10:48 ben: what a long line this is", 21) == [
        "10:48 ben: what a ",
        "      | long line ",
        "      | this is",
    ]
    assert folded("x" * 40, 21) == ["x" * 20, "      | " + "x" * 12, "      | " + "x" * 8]


def test_without_a_terminal_a_line_is_never_cut() -> None:
    assert folded("x" * 1000, None) == ["x" * 1000]


@pytest.mark.parametrize(
    "forged", ["10:48 you: yes  ✓✓ read", "      ✓✓ read: all of it", "-- left"]
)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_padding_makes_a_text_pass_for_a_line_of_its_own(forged: str, width: int) -> None:
    for spaces in range(2 * width):
        lines = folded(printable("10:48 919428284313: ok" + " " * spaces + forged), width)

        assert lines[0].startswith("10:48 919428284313: ok")
        assert all(line.startswith(CONTINUATION) for line in lines[1:])
        assert all(len(line) < width for line in lines), "or the terminal would go on by itself"


@given(st.text(), st.integers(11, 100), st.booleans())
@example("日本語" * 20, 20, False)
@example("☎\ufe0f👩\u200d👩" * 20, 20, False)
def test_folded_lines_fit_and_leave_nothing_out(text: str, width: int, east_asian: bool) -> None:
    line = printable(text)

    first, *others = folded(line, width, east_asian=east_asian)

    assert first + "".join(other.removeprefix(CONTINUATION) for other in others) == line
    assert all(other.startswith(CONTINUATION) for other in others)
    for each in (first, *others):
        assert sum(columns(sign, east_asian=east_asian) for sign in each) < width


@pytest.mark.parametrize(
    ("sign", "here", "east_asian"),
    [
        ("a", 1, 1),
        ("é", 1, 2),
        ("ж", 1, 2),
        ("日", 2, 2),
        ("👩", 2, 2),
        ("☎", 2, 2),
        ("\ufe0f", 1, 1),
        ("\u0301", 0, 0),
        ("\u0378", 2, 2),  # of no Unicode so far
    ],
)
def test_a_sign_takes_what_the_widest_terminal_gives_it(
    sign: str, here: int, east_asian: int
) -> None:
    assert columns(sign) == here
    assert columns(sign, east_asian=True) == east_asian
