"""What the command line takes, and refuses with exit code 2 and a line that helps."""

import pytest

from relay.loadgen.commandline import Comparison, Request, parse
from relay.loadgen.main import main
from relay.loadgen.plan import Chat, Group, Offline, phases_of, sessions_of, share_of
from relay.loadgen.units import parse_cpus, parse_duration


def request(*argv: str) -> Request:
    parsed = parse(list(argv))
    assert isinstance(parsed, Request)
    return parsed


def test_every_option_has_a_default() -> None:
    parsed = request("chat")

    assert parsed.plan.scenario == Chat()
    assert parsed.url == "ws://127.0.0.1:9011/"
    assert (parsed.spawn, parsed.reference, parsed.rounds) == (None, False, 1)


def test_options_make_the_plan() -> None:
    parsed = request(
        "group", "--members", "256", "--senders=2", "--rate", "10", "--for", "1m30s", "--size", "7"
    )

    assert parsed.plan.scenario == Group(members=256, senders=2, rate=10.0)
    assert parsed.plan.measure_s == 90
    assert parsed.plan.size == 7


def test_compare_takes_two_files() -> None:
    parsed = parse(["compare", "a.json", "b.json"])

    assert isinstance(parsed, Comparison)
    assert (parsed.first.name, parsed.second.name) == ("a.json", "b.json")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "SCENARIO"),
        (["chess"], "chess"),
        (["chat", "--pairs", "0"], "'0' is no whole number from 1"),
        (["chat", "--window", "-1"], "--window"),
        (["chat", "--rate", "fast"], "'fast' is no number above 0"),
        (["chat", "--for", "soon"], "'soon' is no duration (90s, 250ms, 20m, 1h30m)"),
        (["chat", "--for", "0s"], "no time above 0"),
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
        (["mixed", "--reference"], "not for mixed"),
        (["idle", "--sockets", "100000000"], "files that a process may open"),
        (["chat", "--json", "/no/such/place/a.json"], "no such directory"),
        (["chat", "--tokens", "/no/such/file"], "No such file"),
        (["chat", "--pear", "3"], "unrecognized arguments"),
        (["compare", "a.json"], "B.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_usage_is_told_and_exits_2(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)

    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relay.loadgen.main.find_spec", lambda name: None)

    assert main(["chat"]) == 2
    assert "hdrhistogram, rich, psutil, jinja2, pygal not installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("300", 300), ("300s", 300), ("250ms", 0.25), ("20m", 1200), ("1h30m", 5400), ("1.5s", 1.5)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1d", "1s1m", "١s"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_cpu_lists_are_read() -> None:
    assert parse_cpus("3,0-1,1") == (0, 1, 3)


@pytest.mark.parametrize("procs", [1, 3, 7])
def test_processes_share_everything_once(procs: int) -> None:
    shares = [share_of(100, index, procs) for index in range(procs)]

    assert [unit for share in shares for unit in share] == list(range(100))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_offline_run_fills_before_it_drains() -> None:
    plan = request("offline", "--users", "3").plan

    assert [phase.name for phase in phases_of(plan)] == ["login", "fill", "drain"]
    assert sessions_of(Offline(users=3)) == 6
