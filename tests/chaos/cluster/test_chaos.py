"""A chaos run of three hosts as part of the suite: whatever happens to one, promises are kept."""

from __future__ import annotations

import pytest

from tests.chaos.test_chaos import chaos
from tests.hosts.hosts import why_none

pytestmark = [pytest.mark.ordeal]

# Three minutes of storm; beside them, on a busy machine, the start, the calm and the stop.
DEADLINE_S = 420.0
STOP_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if why := why_none():
        pytest.skip(f"no hosts here: {why}")


@pytest.mark.timeout(DEADLINE_S + STOP_S)
def test_nothing_acked_is_lost_repeated_or_reordered_while_hosts_are_lost() -> None:
    options = "--hosts 3 --seconds 180 --seed 7 --users 24 --groups 4 --rate 30"
    with chaos(*options.split(), "--kills-per-minute", "4") as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0, output
    assert "every promise was kept" in output


@pytest.mark.parametrize(
    "options",
    [
        *("--hosts 2", "--hosts 3 --tls", "--hosts 3 --sabotage no-outbox", "--sabotage no-fence"),
        *("--upgrade .", "--hosts 3 --upgrade .", "--hosts 3 --upgrade no-such"),
    ],
)
def test_what_several_hosts_do_not_have_is_bad_usage(options: str) -> None:
    with chaos(*options.split()) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 2, output
