"""Signals that come before anybody handles them: kept, and not the end."""

import signal
import subprocess
import sys

PROGRAM = """
import os, signal
from relay import signals
signals.hold()
for number in signals.HELD:
    os.kill(os.getpid(), number)
{then}
print("here")
"""


def run(then: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(then=then)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_is_held_ends_nothing() -> None:
    assert run("") == (0, "here\n")


def test_what_is_ignored_ends_nothing_either() -> None:
    assert run("signals.ignore()\nassert not signal.sigpending()") == (0, "here\n")


def test_what_was_held_comes_when_it_is_released() -> None:
    handler = "signal.signal(signal.SIGTERM, lambda *_: print('stop'))\n"
    others = "for n in signals.HELD[:2] + signals.HELD[3:]: signal.signal(n, signal.SIG_IGN)\n"

    assert run(handler + others + "signals.release()") == (0, "stop\nhere\n")


def test_unhandled_it_is_the_end_it_would_have_been() -> None:
    code, _ = run("for n in signals.HELD: signal.signal(n, signal.SIG_DFL)\nsignals.release()")

    assert -code in signal.valid_signals()
