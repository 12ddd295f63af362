"""What the command line takes, and refuses with exit code 2 and one line that helps."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from click.testing import CliRunner

from relay.errors import RelayError
from relay.loadgen.cli import load, work
from relay.loadgen.cli.commands import main
from relay.loadgen.cli.scenarios import ROWS
from relay.loadgen.run.request import RunRequest
from relay.loadgen.traffic.plan import Chat, Group

Requested = Callable[..., RunRequest]


@pytest.fixture
def requested(monkeypatch: pytest.MonkeyPatch) -> Requested:
    """Return what makes a request of options, without the run."""
    requests: list[RunRequest] = []

    def measure(request: RunRequest, **files: Path | None) -> int:
        requests.append(request)
        return 0

    def request(*argv: str) -> RunRequest:
        assert main(list(argv)) == 0
        return requests.pop()

    monkeypatch.setattr(work, "measure", measure)
    return request


def test_every_option_has_a_default(requested: Requested) -> None:
    request = requested("chat")

    assert request.plan.scenario == Chat()
    assert request == RunRequest(plan=request.plan)
    assert request.url == "ws://127.0.0.1:9011/"
    assert (request.spawn, request.reference, request.rounds) == (None, False, 1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_defaults_of_a_scenario_are_those_of_its_plan(row: Any, requested: Requested) -> None:
    assert requested(row.name).plan.scenario == row.kind()


def test_options_make_the_plan(requested: Requested) -> None:
    request = requested(
        "group", "--members", "256", "--senders=2", "--rate", "10", "--for", "1m30s", "--size", "7"
    )

    assert request.plan.scenario == Group(members=256, senders=2, rate=10.0)
    assert request.plan.measure_s == 90
    assert request.plan.size == 7


def test_the_options_of_a_spawned_relay_are_one_value(requested: Requested) -> None:
    any_rate = "--messages-per-s 1000000"
    spawn = requested("chat", "--spawn", "--workers 1 --fronts 1").spawn
    assert spawn == f"--workers 1 --fronts 1 {any_rate}"
    assert requested("chat", "--spawn", "").spawn == any_rate


def test_a_spawned_relay_may_be_given_a_quota(requested: Requested) -> None:
    assert requested("chat", "--spawn", "--messages-per-s 9").spawn == "--messages-per-s 9"
    assert requested("chat").spawn is None


def test_compare_takes_two_files(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def compare(first: Path, second: Path) -> int:
        taken.extend((first.name, second.name))
        return 0

    monkeypatch.setattr(work, "compare", compare)

    assert main(["compare", "a.json", "b.json"]) == 0
    assert taken == ["a.json", "b.json"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "SCENARIO"),
        (["chess"], "chess"),
        (["--pear"], "no option --pear"),
        (["chat", "--pairs", "0"], "'0' is no whole number from 1"),
        (["chat", "--window", "-1"], "--window"),
        (["chat", "--rate", "fast"], "'fast' is no number above 0"),
        (["chat", "--for", "soon"], "'soon' is no duration (90s, 250ms, 20m, 1h30m)"),
        (["chat", "--for", "0s"], "no time above 0"),
        (["chat", "--for"], "--for"),
        (["chat", "--arrivals", "odd"], "odd"),
        (["chat", "--url", "http://127.0.0.1/"], "not of the form ws://HOST:PORT/"),
        (["chat", "--url", "ws://127.0.0.1:nowhere/"], "not of the form"),
        (["chat", "--load-cpus", "4096"], "no CPU 4096"),
        (["chat", "--load-cpus", "one"], "no list of CPUs"),
        (["chat", "--relay-cpus", "0"], "--relay-cpus needs --spawn"),
        (["chat", "--spawn", "", "--url", "ws://127.0.0.1:1/"], "leave out --url"),
        (["chat", "--pairs", "2", "--procs", "3"], "more than there is to divide"),
        (["group", "--members", "2", "--senders", "2"], "--senders must be fewer"),
        (["offline", "--messages", "1"], "at least one for each"),
        (["mixed", "--users", "2"], "--users must be at least 8"),
        (["idle", "--sockets", "100000000"], "files that a process may open"),
        (["chat", "--json", "/no/such/place/a.json"], "no such directory"),
        (["chat", "--ca-file", "/dev/null"], "not wss://"),
        (["chat", "--url", "wss://h/", "--ca-file", "/no/file"], "/no/file: No such file"),
        (["chat", "--url", "wss://h/", "--client-key", "/dev/null"], "without its certificate"),
        (["chat", "--tokens", "/no/such/file"], "No such file"),
        (["chat", "--tokens", "/dev/null"], "/dev/null"),
        (["chat", "--pear", "3"], "no option --pear here; chat --help lists all"),
        (["chat", "--pear\n", "3"], r"no option --pear\n here"),
        (["chat", "pear"], "pear"),
        (["compare", "a.json"], "B.json"),
        # options of other scenarios
        (["chat", "--sockets", "3"], "no option --sockets here; it belongs to idle"),
        (["idle", "--pairs", "3"], "no option --pairs here; it belongs to chat"),
        (["idle", "--size", "3"], "it belongs to chat, group, offline, mixed"),
        (["storm", "--for", "3s"], "no option --for here; it belongs to"),
        (["offline", "--warm-up", "3s"], "no option --warm-up here; it belongs to"),
        (["chat", "--groups-file", "a"], "it belongs to group, mixed"),
        (["mixed", "--reference"], "no option --reference here; it belongs to chat"),
        (["compare", "--json", "a", "b", "c"], "no option --json here"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_told_in_one_line_and_exits_2(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2

    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relay.loadgen.cli.commands.find_spec", lambda name: None)

    assert main(["chat"]) == 2
    assert "hdrhistogram, rich, psutil, jinja2, pygal not installed" in capsys.readouterr().err


def test_help_lists_the_scenarios_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0

    shown = capsys.readouterr().out
    for part in (*(row.summary for row in ROWS), "compare old.json new.json", "every check held"):
        assert part in shown


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_help_of_a_scenario_has_its_options_and_examples_that_work(
    row: Any,
    requested: Requested,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import shlex

    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr("resource.getrlimit", lambda which: (20_000, 20_000))
    monkeypatch.setattr(work, "write_groups", lambda plan, path: 0)

    assert main([row.name, "--help"]) == 0

    shown = capsys.readouterr().out
    for option in row.options:
        assert f"  {option.opts[0]}" in shown
    assert len(row.examples) >= 2
    for example in row.examples:
        assert f"  python -m relay.loadgen {example}\n" in shown
        assert main(shlex.split(example)) == 0


def test_no_option_has_two_meanings_between_its_section_and_another() -> None:
    for row in ROWS:
        names = [name for option in row.options for name in option.opts]
        assert len(names) == len(set(names))


def test_the_group_can_be_mounted_below_another_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay = click.Group("relay", commands=[load])
    runner = CliRunner()

    monkeypatch.setattr(work, "measure", lambda request, **files: 1)
    assert runner.invoke(relay, ["load", "chat"]).exit_code == 1

    def broken(request: RunRequest, **files: Path | None) -> int:
        raise RelayError("nothing answers")

    monkeypatch.setattr(work, "measure", broken)
    failed = runner.invoke(relay, ["load", "chat"])
    assert failed.exit_code == 1
    assert failed.output == "relay-load: nothing answers\n"

    wrong = runner.invoke(relay, ["load", "idle", "--pairs", "3"], prog_name="relay")
    assert wrong.exit_code == 2
    assert wrong.output == "relay load idle: no option --pairs here; it belongs to chat, storm\n"


@pytest.mark.slow
def test_help_imports_nothing_that_only_a_run_needs() -> None:
    program = (
        "import sys\n"
        "from relay.loadgen.cli.commands import main\n"
        "assert main(['chat', '--help']) == 0\n"
        "print(*sorted(sys.modules))"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )

    loaded = set(told.stdout.splitlines()[-1].split())
    assert "click" in loaded
    heavy = {"asyncio", "hdrh", "jinja2", "psutil", "pygal", "rich", "ssl", "uvloop", "websockets"}
    assert not loaded & heavy
