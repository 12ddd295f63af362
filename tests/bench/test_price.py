"""The price guard: its plan, what it reads, what it prints, and one short comparison."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.bench.price.__main__ import price
from tests.bench.price.plan import NAMES, ROWS, Row, chosen, command, pairs_of_turns
from tests.bench.price.report import Findings, conclusion, shown
from tests.bench.price.trees import (
    HERE,
    CannotCompare,
    Tree,
    loaded_by,
    needs,
    options_of,
    trees,
    unmet,
)
from tests.bench.records import Fault, Faults, Latency, Load, Outcome, Phase

ACK = "send → ack 1"


def row(name: str) -> Row:
    return next(each for each in ROWS if each.name == name)


def outcome(cpu_us: float, *, p50: float = 1.0, others: float = 0.0, lost: int = 0) -> Outcome:
    """A run of a second with 1,000 messages, at so many microseconds each."""
    loads = [
        Load("front", cpu_us * 600e-6, waits=100),
        Load("worker", cpu_us * 400e-6, waits=50),
        Load("generator", 0.5),
    ]
    return Outcome(
        server="relay",
        sessions=200,
        phases=[Phase("measured", 1.0, {"completed": 1000}, loads, others_cpu_s=others)],
        latencies={ACK: Latency(p50, 4 * p50)},
        faults=Faults({"lost": Fault(lost)} if lost else {}),
    )


# -- rows -----------------------------------------------------------------------------------------


def test_rows_are_chosen_by_name_and_told_where_there_is_no_such_row() -> None:
    assert [each.name for each in chosen("rate-300, window-8")] == ["rate-300", "window-8"]
    assert [each.name for each in chosen("all")] == list(NAMES)
    assert "8+8-rate-2000" not in [each.name for each in chosen("usual")]
    assert len(chosen("window-8,usual")) == len(chosen("usual"))
    with pytest.raises(ValueError, match="no row 'window-9': usual, all, or of window-8"):
        chosen("window-9")
    with pytest.raises(ValueError, match="which rows"):
        chosen(" , ")


def test_every_row_has_a_pair_before_any_has_its_second_and_each_side_begins_as_often() -> None:
    rows = chosen("window-8,window-1,storm")
    pairs = list(pairs_of_turns(rows, 4))

    assert [pair[0].row.name for pair in pairs[:3]] == [each.name for each in rows]
    assert all({one.side, other.side} == {0, 1} for one, other in pairs)
    assert all(one.row is other.row for one, other in pairs)
    for each in rows:
        begins = [one.side for one, _ in pairs if one.row is each]
        assert sorted(begins) == [0, 0, 1, 1]


def test_a_run_is_asked_for_as_the_generator_of_any_version_understands_it() -> None:
    given = command(row("rate-300"), url="ws://x/", seconds=4, has_cores=True, record="r.json")

    assert given[:3] == ["chat", "--rate", "300"]
    assert ("--for", "4s") in itertools.pairwise(given)
    assert ("--load-cpus", "1") in itertools.pairwise(given)


def test_what_has_its_own_length_is_not_given_another_and_8_8_has_all_cores() -> None:
    storm = command(row("storm"), url="ws://x/", seconds=4, has_cores=True, record="r.json")
    many = command(row("8+8"), url="ws://x/", seconds=4, has_cores=True, record="r.json")
    alone = command(row("window-8"), url="ws://x/", seconds=4, has_cores=False, record="r.json")

    assert "--for" not in storm
    assert "--load-cpus" not in many
    assert "--load-cpus" not in alone


# -- trees ----------------------------------------------------------------------------------------


def test_a_quota_is_lifted_only_where_the_relay_has_one() -> None:
    assert options_of("  --messages-per-s N   messages of one author") == (
        "--messages-per-s",
        "1000000",
    )
    assert options_of("  --durability MODE    fsync") == ()


def test_what_the_later_commit_generates_loads_both_unless_the_other_is_wished_for() -> None:
    def tree(name: str, when: int) -> Tree:
        return Tree(name, "c", when, Path(), Path(), ())

    two = tree("A", 2), tree("B", 1)
    assert loaded_by(two).name == "A"
    assert loaded_by(two, "B").name == "B"


def test_this_tree_needs_what_is_installed_and_a_package_that_is_not_here_is_named() -> None:
    assert unmet(needs(HERE, "load")) == []
    assert unmet(["msgspec<0.0.1", "no-such-package>=1", "nothing; python_version<'3'"]) == [
        "msgspec<0.0.1",
        "no-such-package>=1",
    ]


def test_what_is_no_commit_and_no_checkout_cannot_be_compared(tmp_path: Path) -> None:
    with pytest.raises(CannotCompare, match="A=no-such-commit: no such commit"):  # noqa: SIM117
        with trees(("no-such-commit", str(HERE)), tmp_path):
            raise AssertionError("nothing to compare")
    with pytest.raises(CannotCompare, match="a directory without"):  # noqa: SIM117
        with trees((str(tmp_path), str(HERE)), tmp_path):
            raise AssertionError("nothing to compare")


# -- the report -----------------------------------------------------------------------------------


def test_the_table_tells_medians_ratios_and_what_is_beyond_noise() -> None:
    findings = Findings([row("window-8")])
    for a, b in ((100, 70), (110, 75), (90, 65), (105, 72), (95, 66)):
        findings.add(row("window-8"), outcome(a), outcome(b))

    lines = findings.lines()
    cpu, p50, _ = lines

    assert cpu.cells() == [
        *("window-8", "CPU a message, µs", "better", "100", "70.0", "0.69"),
        "0.70 0.68 0.72 0.69 0.69",
    ]
    assert p50.verdict == "no difference"
    assert "| window-8 | CPU a message, µs" in shown(lines)
    assert conclusion(lines) == "beyond noise: window-8 CPU a message 0.69"


def test_dearer_is_worse_and_a_lower_rate_is_worse() -> None:
    findings = Findings([row("window-8")])
    for a, b in ((70, 100), (75, 110), (65, 90), (72, 105), (66, 95)):
        findings.add(row("window-8"), outcome(a), outcome(b))

    assert findings.lines()[0].verdict == "WORSE"


def test_the_same_runs_are_no_difference_and_two_pairs_are_too_few() -> None:
    same, few = Findings([row("window-8")]), Findings([row("window-8")])
    for at in range(5):
        same.add(row("window-8"), outcome(100 + at), outcome(100 + at))
    for _ in range(2):
        few.add(row("window-8"), outcome(100), outcome(50))

    assert conclusion(same.lines()) == "no difference"
    assert conclusion(few.lines()).startswith("too few pairs")
    assert few.lines()[0].verdict == "too few pairs"
    assert conclusion(Findings([row("window-8")]).lines()) == "nothing compared"


def test_a_pair_beside_which_others_were_at_work_is_marked() -> None:
    findings = Findings([row("window-8")])
    for others in (0.0, 0.9, 0.0):
        findings.add(row("window-8"), outcome(100), outcome(90, others=others))

    line = findings.lines()[0]

    assert line.disturbed == [1]
    assert line.cells()[-1] == "0.90 0.90d 0.90"
    assert "d: others used" in shown([line])


def test_what_a_relay_did_wrong_is_told_with_its_row_and_side() -> None:
    findings = Findings([row("window-8")])
    findings.add(row("window-8"), outcome(100), outcome(90, lost=3))

    assert findings.wrongs == ["window-8, B, pair 1: 3 lost"]


def test_of_relays_that_were_loaded_at_once_only_what_they_used_is_compared() -> None:
    findings = Findings([row("rate-300"), row("offline")], costs_only=True)
    findings.add(row("rate-300"), outcome(100), outcome(90))
    findings.add(row("offline"), outcome(100), outcome(90))

    assert [line.figure.name for line in findings.lines()] == [
        "CPU a message",
        "waits a message",
        "CPU a message, fill",
        "CPU a message, drain",
    ]


def test_what_is_written_is_json_also_where_figures_are_missing() -> None:
    findings = Findings([row("rate-300"), row("idle")])
    findings.add(row("rate-300"), outcome(100), outcome(90))
    findings.add(row("idle"), outcome(100), outcome(90))

    written = json.loads(json.dumps([each.as_json() for each in findings.lines()], allow_nan=False))

    by_name = {(each["row"], each["figure"]): each for each in written}
    assert by_name["rate-300", "CPU a message"]["a"] == [pytest.approx(100)]
    assert by_name["rate-300", "waits a message"]["b"] == [pytest.approx(0.15)]
    assert by_name["idle", "front, a socket"]["a"] == [None]


def test_help_teaches_and_bad_usage_is_one_of_two() -> None:
    told = CliRunner().invoke(price, ["--help"])
    bad = CliRunner().invoke(price, ["HEAD", "--rows", "window-9"])

    assert told.exit_code == 0
    assert "make price A=main" in told.output
    assert bad.exit_code == 2
    assert "no row 'window-9'" in bad.output


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_commit_against_the_working_tree_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    written = tmp_path / "price.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.price", "HEAD", "."),
            *("--rows", "window-8,group-256", "--pairs", "1", "--seconds", "0.3"),
            *("--json", str(written)),
        ],
        cwd=HERE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "too few pairs to tell" in done.stdout
    lines = json.loads(written.read_text())["lines"]
    cpu = next(line for line in lines if line["figure"] == "CPU a message")
    assert cpu["a"][0] > 1
    assert cpu["b"][0] > 1
    assert any(line["figure"] == "CPU a delivery" for line in lines)
    left = subprocess.run(
        ["git", "worktree", "list"], cwd=HERE, capture_output=True, text=True, check=True
    )
    assert str(tmp_path) not in left.stdout
    assert list(tmp_path.iterdir()) == [written]
