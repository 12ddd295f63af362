"""What is read of a record, whatever version of the generator wrote it."""

import json
import math
from pathlib import Path

import pytest

from tests.bench.records import Load, Phase, Unreadable, read_outcome


def record(**more: object) -> str:
    phase = {
        "name": "measured",
        "seconds": 2.0,
        "counts": {"completed": 1000, "delivered": 3000, "something new": 7},
        "loads": [
            {"role": "front", "name": "front 0", "cpu_s": 0.06, "waits": 40, "private_bytes": 1},
            {"role": "worker", "name": "worker 0", "cpu_s": 0.04, "waits": 10, "private_bytes": 1},
            {"role": "generator", "name": "generator 0", "cpu_s": 1.9, "waits": 5},
            {"role": "generator", "name": "generator 1", "cpu_s": 1.0, "waits": 5},
        ],
        "others_cpu_s": 0.5,
    }
    outcome = {
        "server": "relay",
        "sessions": 100,
        "phases": [phase],
        "latencies": {"login": {"p50": 1.0, "p99": 9.0, "max": 10}},
        "pss_before": {"front": 1000},
        "pss_logged_in": {"front": 1000 + 100 * 4096, "worker": 5},
        "faults": {"kinds": {"lost": {"count": 2, "examples": []}}},
        "given_up": ["drain given up"],
        **more,
    }
    reference = {**outcome, "server": "reference", "sessions": 1}
    return json.dumps({"format": 1, "new": {}, "outcomes": [reference, outcome]})


def test_the_relays_run_is_read_and_what_is_not_known_does_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(record(yet_another=1))

    outcome = read_outcome(file)
    phase = outcome.phase("measured")

    assert outcome.sessions == 100
    assert phase.cpu_us("completed") == pytest.approx(100)
    assert phase.cpu_us("delivered") == pytest.approx(100 / 3)
    assert phase.waits("completed") == pytest.approx(0.05)
    assert phase.rate("completed") == 500
    assert phase.cores_of_server() == pytest.approx(0.05)
    assert phase.cores_of_others() == pytest.approx(0.25)
    assert phase.busiest_of_load() == pytest.approx(0.95)
    assert outcome.latency_ms("login", "p99") == 9.0
    assert outcome.pss_kib("front") == pytest.approx(4.0)
    assert outcome.wrongs == "2 lost, drain given up"


def test_what_a_run_has_not_is_no_number(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(record())

    outcome = read_outcome(file)

    assert math.isnan(outcome.phase("storm").cpu_us("logins"))
    assert math.isnan(outcome.latency_ms("drain", "p50"))
    assert math.isnan(outcome.pss_kib("worker"))
    assert math.isnan(Phase("x", 1.0, {}, [Load("front", 1.0)]).cpu_us("completed"))


@pytest.mark.parametrize("text", ["", "{}", '{"outcomes": []}', '{"outcomes": [{"server": 1}]}'])
def test_a_file_without_a_run_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(text)

    with pytest.raises(Unreadable, match=r"run\.json"):
        read_outcome(file)
    with pytest.raises(Unreadable, match=r"absent\.json"):
        read_outcome(tmp_path / "absent.json")
