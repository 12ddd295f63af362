"""Text of others on a screen: shown, never obeyed, and never at the start of a screen line."""

import unicodedata
from typing import Final

from prompt_toolkit.utils import get_cwidth

# What a line goes on with below its start. Every line begins with a time, or with as many spaces
# and a tick, so that nobody's text can pass for one.
CONTINUATION: Final = "      | "

_MIN_COLUMNS: Final = 2  # of text in a folded line: the widest character


def _visible_signs() -> dict[int, str]:
    signs = {code: chr(0x2400 + code) for code in range(0x20)}  # the pictures of control characters
    signs |= dict.fromkeys(range(0x7F, 0xA0), "\N{REPLACEMENT CHARACTER}")
    signs |= dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")
    # Marks that reorder the rest of the line, or hide in it.
    for first, last in ((0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069), (0xE0000, 0xE007F)):
        signs |= dict.fromkeys(range(first, last + 1), "\N{REPLACEMENT CHARACTER}")
    signs |= dict.fromkeys((0xAD, 0x61C, 0xFEFF), "\N{REPLACEMENT CHARACTER}")
    signs |= dict.fromkeys((0x0A, 0x2028, 0x2029), " \N{RETURN SYMBOL} ")
    signs[0x09] = " "
    return signs


_VISIBLE: Final = _visible_signs()


def printable(text: str) -> str:
    """Return `text` as one line without anything that a terminal would obey.

    What others write is shown, never executed: escape sequences, line ends and marks that reorder
    text could otherwise repaint the screen or forge a line of somebody else.
    """
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def columns(sign: str, *, east_asian: bool = False) -> int:
    """Return how many columns the character takes at most, whichever terminal shows it.

    Terminals disagree on signs that are newer than they are, and on what makes an emoji of the
    sign before it. Signs and letters, such as Cyrillic ones, that East Asian fonts draw wide are
    wide in terminals there; letters elsewhere are not, or half of every Russian line stayed empty.
    """
    if sign.isascii():
        return 1
    category = unicodedata.category(sign)
    if category in ("Mn", "Me"):
        return int(sign == "\N{VARIATION SELECTOR-16}")
    match unicodedata.east_asian_width(sign):
        case "W" | "F":
            return 2
        case "A" if east_asian or not category.startswith("L"):
            return 2
    return 2 if category == "Cn" else max(get_cwidth(sign), 1)


def folded(line: str, width: int | None, *, east_asian: bool = False) -> list[str]:
    """Cut a printable line into what fits a screen of `width` columns; None is a screen of any.

    The terminal itself would go on at the left edge, where a text could pass for a line of its
    own. Here every further line begins with `CONTINUATION`. Nothing is left out; a cut is after a
    space where one is in the second half of the line. Below eleven columns there is no room for
    that, and a window made narrower afterwards folds what it shows by its own rule.
    """
    if width is None:
        return [line]
    lines: list[str] = []
    start = ""
    while True:
        # One column less than there are: some terminals go on by themselves after the last.
        room = max(width - 1 - len(start), _MIN_COLUMNS)
        end = _fitting(line, room, east_asian=east_asian)
        lines.append(start + line[:end])
        line = line[end:]
        if not line:
            return lines
        start = CONTINUATION


def _fitting(line: str, room: int, *, east_asian: bool) -> int:
    """Return how many characters of `line`, at least one, to put into `room` columns."""
    taken = 0
    for end, sign in enumerate(line):
        taken += columns(sign, east_asian=east_asian)
        if taken > room:
            space = line.rfind(" ", end // 2, end)
            return max(end if space < 0 else space + 1, 1)
    return len(line)
