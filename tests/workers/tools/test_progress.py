"""Progress: quiet at first, then a line that a person watches or a log keeps."""

from io import StringIO

from workers.tools.progress import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_soon_over_says_nothing() -> None:
    clock, stream = Clock(), Terminal()
    progress = Progress("checked", 10_000, stream=stream, clock=clock)

    progress.advance(5_000)
    clock.now = 1.9
    progress.advance(5_000)
    progress.end()

    assert stream.getvalue() == ""


def test_on_a_terminal_one_line_is_kept_up_to_date_and_cleared() -> None:
    clock, stream = Clock(), Terminal()
    progress = Progress("checked", 10_000, stream=stream, clock=clock)

    clock.now = 3
    progress.advance(5_000)
    progress.advance(1_000)  # too soon for another
    clock.now = 4
    progress.advance(3_000)
    progress.end()

    assert stream.getvalue() == (
        "\rchecked: 50 %, 5,000 of 10,000\x1b[K\rchecked: 90 %, 9,000 of 10,000\x1b[K\r\x1b[K"
    )


def test_elsewhere_there_is_a_line_now_and_then() -> None:
    clock, stream = Clock(), StringIO()
    progress = Progress("checked", 10_000, stream=stream, clock=clock)

    for now in range(15):
        clock.now = now
        progress.advance(600)
    progress.end()

    assert stream.getvalue() == "checked: 18 %\nchecked: 78 %\n"


def test_a_log_gets_the_percentage() -> None:
    clock, logged = Clock(), list[int]()
    progress = Progress("x", 10_000, stream=StringIO(), log=logged.append, clock=clock)

    clock.now = 3
    progress.advance(20_000)

    assert logged == [100]
