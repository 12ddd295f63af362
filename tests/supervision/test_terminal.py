"""Whether a SIGHUP is of a terminal's end, or an operator's."""

import pytest

from relay.supervision import terminal
from relay.supervision.terminal import TELLS_WITHIN_S, Terminal


class Tty:
    """A terminal that may close."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_there = True
        monkeypatch.setattr(terminal, "_is_there", lambda: self.is_there)


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Tty:
    return Tty(monkeypatch)


def test_a_sighup_while_it_is_open_is_an_operators(tty: Tty) -> None:
    assert not Terminal(minds=True).is_closed(now_s=1)


def test_a_sighup_when_it_has_closed_is_of_that(tty: Tty) -> None:
    found = Terminal(minds=True)
    tty.is_there = False

    assert found.is_closed(now_s=1)


def test_one_that_was_let_go_of_its_shell_is_reloaded_later(tty: Tty) -> None:
    found = Terminal(minds=True)
    tty.is_there = False
    found.look(now_s=10)

    assert found.is_closed(now_s=10 + TELLS_WITHIN_S)
    assert not found.is_closed(now_s=10.1 + TELLS_WITHIN_S)


@pytest.mark.parametrize(("minds", "is_there"), [(False, True), (True, False)])
def test_with_nohup_or_without_a_terminal_it_is_always_an_operators(
    minds: bool, is_there: bool, tty: Tty
) -> None:
    tty.is_there = is_there
    found = Terminal(minds=minds)
    tty.is_there = False

    assert not found.is_closed(now_s=1)
