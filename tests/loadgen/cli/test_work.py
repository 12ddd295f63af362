"""Whole calls, as an operator makes them: exit codes, what is shown, what is written."""

import json
from pathlib import Path

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.cli.commands import main
from tests.loadgen.fakes import served

pytestmark = pytest.mark.slow

SHORT = ["--pairs", "3", "--warm-up", "100ms", "--for", "400ms", "--patience", "500ms"]


def test_a_run_shows_its_parameters_and_figures_and_exits_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "a.json", tmp_path / "a.html"
    options = ["--json", str(written[0]), "--html", str(written[1]), "--procs", "2", "--reference"]
    with served() as url:
        assert main(["chat", "--url", url, *SHORT, *options]) == 0

    # the banner, before anything ran
    shown = capsys.readouterr().out
    assert shown.startswith(f"relay-load {url}")
    for part in ("scenario=chat", "pairs=3", "window=8", "procs=2", "seed=1", "cores", "Python"):
        assert part in shown
    # the tables
    for part in (
        "lost 0",
        "send → ack 1",
        "p99.9",
        "CPU µs/message",
        "generator × 3",
    ):
        assert part in shown
    # the record
    document = json.loads(written[0].read_bytes())
    assert {outcome["server"] for outcome in document["outcomes"]} == {"relay", "reference"}
    for outcome in document["outcomes"]:
        assert outcome["faults"]["kinds"] == {}
        assert {phase["name"] for phase in outcome["phases"]} >= {"login", "measured"}
        assert outcome["latencies"]["send → receipt"]["count"] > 0
    # the page: whole in itself, and made for light and dark
    page = written[1].read_text()
    assert page.count("<svg") == 10
    assert "prefers-color-scheme: dark" in page
    for foreign in ("src=", "@import", "<script", "href="):
        assert foreign not in page
    # and compare reads what was written
    assert main(["compare", str(written[0]), str(written[0])]) == 0
    compared = capsys.readouterr().out
    assert "send → ack 1 p99" in compared
    assert "better" not in compared
    assert "worse" not in compared


def test_a_run_with_faults_names_them_and_exits_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 0

    def drop(user: str, payload: bytes, pass_on: object) -> None:
        nonlocal count
        assert callable(pass_on)
        if payload.startswith(b'["action"'):
            count += 1
            if count % 20 == 0:
                return
        pass_on(payload)

    page = tmp_path / "a.html"
    with served(drop) as url:
        assert main(["chat", "--url", url, *SHORT, "--html", str(page)]) == 1

    shown = capsys.readouterr().out
    assert "relay: lost " in shown
    assert "never came to" in shown
    assert "checks failed" in page.read_text()


def test_where_nothing_listens_it_says_so_and_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--url", "ws://127.0.0.1:1/", *SHORT]) == 1

    assert "no relay at ws://127.0.0.1:1/" in capsys.readouterr().err


def test_a_relay_that_cannot_start_is_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--spawn", "--workers many", *SHORT]) == 1

    told = capsys.readouterr().err
    assert "the relay did not start" in told
    assert "many" in told


def test_a_record_that_is_none_is_bad_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "a.json"
    other.write_text("{}")

    assert main(["compare", str(other), str(other)]) == 2
    assert "no record of a run" in capsys.readouterr().err


def test_the_groups_of_a_run_can_be_written_for_a_relay(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"

    assert main(["group", "--groups", "2", "--members", "3", "--groups-file", str(path)]) == 0

    groups = json.loads(path.read_bytes())
    assert [len(group["participants"]) for group in groups.values()] == [3, 3]


def test_a_day_in_the_life_holds_against_a_relay_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    day = ["mixed", "--users", "24", "--rate", "150", "--online", "400ms", "--away", "200ms"]

    assert main([*day, "--spawn", "--workers 2", "--warm-up", "100ms", "--for", "1s"]) == 0

    shown = capsys.readouterr().out
    for part in ("front", "worker × 2", "supervisor", "reads:"):
        assert part in shown
