"""A short chaos run as part of the suite: a relay that is killed and frozen keeps its promises."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.outside import node
from tests.outside.processes import REPOSITORY

from .run import Options, banner

pytestmark = pytest.mark.ordeal

DEADLINE_S = 150.0  # on a busy machine; some 30 s on an idle one
STOP_S = 30.0


@contextmanager
def chaos(*options: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m tests.chaos` with `options`; asked to end where the test is over before it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", *options],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)  # it ends the relay that it has started
                process.communicate(timeout=STOP_S)


@pytest.mark.timeout(DEADLINE_S + STOP_S + 10)
@pytest.mark.parametrize("guarded", [(), ("--tls", "--tokens")], ids=["open", "guarded"])
def test_nothing_acked_is_lost_repeated_or_reordered_while_processes_die(
    guarded: tuple[str, ...],
) -> None:
    options = "--seconds 14 --seed 88 --users 24 --groups 4 --rate 40 --kills-per-minute 40"
    with chaos(*options.split(), *guarded) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0, output
    assert "every promise was kept" in output


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "options",
    ["--seconds 0", "--workers none", "--groups -1", "--keep .", "--sabotage no-such"],
)
def test_bad_usage_exits_with_2_and_starts_nothing(options: str) -> None:
    with chaos(*options.split()) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 2, output
    assert options.split()[0] in output


def test_the_banner_tells_every_digit_of_the_seed() -> None:
    """It is what the run is repeated by."""
    assert "--seed 20261123 " in banner(Options(seed=20_261_123))


def test_the_banner_tells_what_the_relay_asks_of_whoever_comes() -> None:
    assert banner(Options(tls=True, tokens=True)).endswith(" --tls --tokens")


@pytest.mark.timeout(DEADLINE_S + STOP_S + 10)
@pytest.mark.skipif(node.executable() is None, reason="needs node")
def test_the_javascript_client_tells_everything_once_and_in_order_while_processes_die() -> None:
    options = "--client node --seconds 30 --seed 17 --users 24 --groups 4 --rate 40"
    with chaos(*options.split(), "--kills-per-minute", "24") as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0, output
    assert "no fault" in output
    assert "every promise was kept" in output
