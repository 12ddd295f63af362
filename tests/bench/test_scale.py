"""The curve: which sizes fit, what is made of runs, and one short measurement."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.records import Latency, Outcome, Phase
from tests.bench.records import Load as Used
from tests.bench.scale.__main__ import ROOT, scale
from tests.bench.scale.curve import Run, as_json, curve, plot, shown
from tests.bench.scale.plan import Load, Size, command, sizes, too_large

WINDOW = Load("Window 8", window=8)
OPEN = Load("Open loop", rate=3000.0)


def run(size: Size, rate: float, *, load: Load = WINDOW, busy: float = 0.5) -> Run:
    """A run of a second at so many messages a second, 80 µs each."""
    phase = Phase(
        "measured",
        1.0,
        {"completed": int(rate)},
        [Used("front", rate * 80e-6, waits=int(rate / 10)), Used("generator", busy)],
    )
    latencies = {"send → ack 1": Latency(5.0, 20.0)}
    return Run(size, load, Outcome("relay", 200, [phase], latencies=latencies))


# -- sizes ----------------------------------------------------------------------------------------


def test_sixteen_cores_show_every_size_with_as_many_cores_for_the_load() -> None:
    found = sizes(range(16))

    assert [size.workers for size in found] == [1, 2, 4, 8]
    assert all(size.is_clean for size in found)
    for size in found:
        assert len(size.relay_cpus) == size.workers
        assert len(size.load_cpus) >= size.workers
        assert not set(size.relay_cpus) & set(size.load_cpus)
    assert too_large(range(16)) == []


def test_two_cores_show_one_worker_and_crowded_two_and_skip_the_others() -> None:
    one, two = sizes([0, 1])

    assert one == Size(1, (0,), (1,), 1)
    assert two.workers == 2
    assert not two.is_clean
    assert too_large([0, 1]) == [4, 8]


def test_one_core_shows_one_worker_crowded_and_cores_are_those_that_we_may_use() -> None:
    [one] = sizes([3])
    assert not one.is_clean
    assert sizes([4, 6, 9, 11])[1].relay_cpus == (4, 6)


def test_a_load_grows_with_the_size() -> None:
    size = Size(4, (0, 1, 2, 3), (4, 5, 6, 7), 4)
    closed = command(size, WINDOW, seconds=5, record="r.json")
    opened = command(size, OPEN, seconds=5, record="r.json")

    pairs = list(itertools.pairwise(closed))
    assert ("--pairs", "400") in pairs
    assert ("--procs", "4") in pairs
    assert ("--spawn", "--workers 4 --fronts 4") in pairs
    assert ("--relay-cpus", "0,1,2,3") in pairs
    assert ("--load-cpus", "4,5,6,7") in pairs
    assert ("--rate", "12000") in itertools.pairwise(opened)
    assert "--window" not in opened


def test_a_crowded_size_is_not_pinned() -> None:
    given = command(Size(2, (), (), 1), WINDOW, seconds=5, record="r.json")

    assert "--relay-cpus" not in given
    assert "--load-cpus" not in given


# -- the curve ------------------------------------------------------------------------------------


def test_efficiency_is_what_a_worker_carries_against_the_smallest_size() -> None:
    one, two = Size(1, (0,), (2,), 1), Size(2, (0, 1), (2, 3), 2)
    runs = [run(two, 15_000), run(one, 10_000), run(one, 9_000), run(one, 12_000), run(two, 16_000)]

    points = curve(runs, WINDOW)

    assert [point.size.workers for point in points] == [1, 2]
    assert points[0].rate == 10_000
    assert points[0].efficiency == 1.0
    assert points[1].efficiency == pytest.approx(0.775)
    assert points[1].cpu_us == pytest.approx(80)
    assert points[1].cores == pytest.approx(1.24)
    assert points[1].p99_ms == 20.0
    assert curve(runs, OPEN) == []


def test_in_an_open_loop_efficiency_is_the_share_of_what_was_due() -> None:
    two = Size(2, (0, 1), (2, 3), 2)

    assert curve([run(two, 4_500, load=OPEN)], OPEN)[0].efficiency == 0.75


def test_the_table_marks_what_was_crowded_or_limited_by_the_load_and_names_what_is_skipped() -> (
    None
):
    one, two = Size(1, (0,), (1,), 1), Size(2, (), (), 1)
    points = curve([run(one, 10_000, busy=0.95), run(two, 8_000)], WINDOW)

    told = shown([(WINDOW, points)], [4, 8])

    assert "1 + 1!" in told
    assert "2 + 2*" in told
    assert "*: more workers than half the cores" in told
    assert "!: a load process was busy" in told
    assert "skipped 8 + 8" in told
    assert "0.40" in told


def test_an_open_loop_is_not_limited_by_a_busy_load_and_nothing_measured_is_no_table() -> None:
    one = Size(1, (0,), (1,), 1)

    assert "!" not in shown([(OPEN, curve([run(one, 3_000, load=OPEN, busy=0.95)], OPEN))], [])
    assert shown([(WINDOW, [])], []).strip() == ""


def test_the_plot_is_svg_with_a_point_a_size_and_what_is_written_is_json() -> None:
    one, two = Size(1, (0,), (2,), 1), Size(2, (0, 1), (2, 3), 2)
    points = curve([run(one, 10_000), run(two, 15_000)], WINDOW)

    drawn = plot(points).decode()
    written = json.loads(json.dumps(as_json([(WINDOW, points)]), allow_nan=False))

    assert "<svg" in drawn
    assert "15,000" in drawn
    assert "in proportion" in drawn
    assert written[1]["size"]["is_clean"] is True
    assert written[1]["load"]["window"] == 8
    assert written[1]["rates"] == [15_000]
    assert not math.isnan(written[0]["efficiency"])


def test_help_teaches_and_sizes_are_whole_numbers() -> None:
    told = CliRunner().invoke(scale, ["--help"])
    bad = CliRunner().invoke(scale, ["--sizes", "1,many"])

    assert told.exit_code == 0
    assert "make wheelhouse" in told.output
    assert bad.exit_code == 2


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_one_worker_is_measured_and_written(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.scale", "--sizes", "1", "--rounds", "1"),
            *("--seconds", "0.3", "--rate", "200", "--out", str(tmp_path / "curve")),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 + 1" in done.stdout
    points = json.loads((tmp_path / "curve" / "curve.json").read_text())["points"]
    assert [point["load"]["rate"] for point in points] == [0, 200]
    assert all(point["rate"] > 50 for point in points)
    assert b"<svg" in (tmp_path / "curve" / "curve.svg").read_bytes()
