"""What is written to a terminal, and to what is none."""

import io
import os
import pty
import re
import sys
import termios

import pytest

from relay.client import terminal


@pytest.mark.parametrize("t", [10**30, -(10**30), 2**63])
def test_a_time_beyond_the_calendar_is_shown_as_unknown(t: int) -> None:
    assert terminal.clock(t) == "??:??"
    assert re.fullmatch(r"\d\d:\d\d", terminal.clock(1566970629))


def test_a_pipe_gets_a_line_for_a_line_and_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)

    terminal.show(["x" * 200, "a\x1b[2Jb"])
    terminal.note("about\nit")

    assert out.getvalue() == "x" * 200 + "\na␛[2Jb\n"
    assert err.getvalue() == "-- about ⏎ it\n"


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        (40, ["x" * 39, "      | " + "x" * 31, "      | " + "x" * 30]),
        (0, ["x" * 79, "      | " + "x" * 21]),  # it does not say
    ],
)
def test_a_terminal_gets_lines_that_fit(
    told: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, told))
    with os.fdopen(slave, "w") as screen, os.fdopen(master, "rb", 0) as shown:
        monkeypatch.setattr(sys, "stdout", screen)

        terminal.show(["x" * 100, "end"])

        text = b""
        while not text.endswith(b"end\r\n"):
            text += shown.read(65536)
    assert text.decode().splitlines() == [*lines, "end"]


@pytest.mark.parametrize(
    ("locale", "letters"), [({"LANG": "ja_JP.UTF-8"}, 15), ({"LANG": "ja", "LC_ALL": "C"}, 31)]
)
def test_letters_may_be_wide_where_the_locale_is_east_asian(
    locale: dict[str, str], letters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "_width", lambda stream: 40)
    monkeypatch.setattr(sys, "stdout", screen)

    terminal.show(["ж" * 200])

    assert screen.getvalue().splitlines()[1] == "      | " + "ж" * letters
