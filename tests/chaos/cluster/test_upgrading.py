"""Another version, host by host, under load: nothing is lost, drained or not, up or down."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos.test_chaos import chaos
from tests.hosts.hosts import why_none
from tests.outside.releases import install

pytestmark = [pytest.mark.ordeal]

# Six hosts are stopped and started, one after another, and all is to be well between two of them.
DEADLINE_S = 900.0
STOP_S = 60.0
VERSION: Final = "99.0"
# What a version may say that its neighbour does not know: more in a beat, in the body of an epoch
# record, in batches, and in what an agent answers.
SAYS_MORE: Final = {
    "relay/cluster/beats.py": {
        "    engine: EngineFacts = EngineFacts()\n": (
            '    mood: str = ""\n\n'
            "    def __post_init__(self) -> None:\n"
            '        msgspec.structs.force_setattr(self, "mood", "calm")\n'
        ),
    },
    "relay/cluster/requests.py": {
        "  # of the agent that says so\n": '    mood: str = "calm"\n',
    },
    "workers/log/record.py": {
        "  # where the workers and fronts of other hosts connect to it\n": (
            '    mood: str = "calm"\n'
        ),
    },
    "relay/bus/envelopes.py": {
        "    items: list[ToWorker]\n": "    mood: int = 7\n",
        "    items: list[ToFront]\n    begun: int = 0\n": "    mood: int = 7\n",
        "    items: list[ToPeer]\n": "    mood: int = 7\n",
    },
}


@pytest.fixture(scope="module", autouse=True)
def _allowed() -> None:
    if why := why_none():
        pytest.skip(f"no hosts here: {why}")


@pytest.mark.timeout(DEADLINE_S + STOP_S)
def test_nothing_acked_is_lost_while_hosts_get_another_version_one_after_the_other(
    tmp_path: Path,
) -> None:
    other = install(tmp_path / "other", VERSION, SAYS_MORE)
    options = "--hosts 3 --seconds 1 --seed 7 --users 24 --groups 4 --rate 30"
    with chaos(*options.split(), "--upgrade", str(other)) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 0, output
    assert "every promise was kept" in output
    assert "downgrade 3  upgrade 3" in output
