"""The floor under the coverage of what decides."""

import json
from pathlib import Path
from typing import Any

import pytest

from .coverage_floor import main


def summary(lines: int, covered: int, branches: int = 0, reached: int = 0) -> dict[str, Any]:
    return {
        "summary": {
            "num_statements": lines,
            "covered_lines": covered,
            "num_branches": branches,
            "covered_branches": reached,
        }
    }


@pytest.fixture
def files() -> dict[str, Any]:
    return {
        "relay/protocol/jid.py": summary(100, 100, 20, 20),
        "relay/protocol/codec.py": summary(80, 72),
        "relay/bus/link.py": summary(50, 50),
        "relay/bus/envelopes.py": summary(50, 50),
        "relay/bus/sockets.py": summary(50, 0),
        "workers/shard/shard.py": summary(60, 60, 40, 40),
    }


def run(files: dict[str, Any], tmp_path: Path) -> int:
    (tmp_path / "report.json").write_text(json.dumps({"files": files}))
    return main([str(tmp_path / "report.json")])


def test_a_package_is_measured_as_a_whole_and_others_not_at_all(
    files: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(files, tmp_path) == 0

    assert capsys.readouterr().out == (
        "relay.protocol: 96.0 % of lines and branches\n"
        "relay.bus: 100.0 % of lines and branches\n"
        "workers.shard: 100.0 % of lines and branches\n"
    )


def test_a_package_below_the_floor_fails(
    files: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files["workers/shard/shard.py"] = summary(60, 60, 40, 34)

    assert run(files, tmp_path) == 1

    said = capsys.readouterr().out
    assert "workers.shard: 94.0 % of lines and branches, below the 95 % that it must have\n" in said


def test_what_was_not_measured_does_not_pass(files: dict[str, Any], tmp_path: Path) -> None:
    del files["relay/bus/link.py"]

    with pytest.raises(ValueError, match=r"no relay/bus/link\.py"):
        run(files, tmp_path)
