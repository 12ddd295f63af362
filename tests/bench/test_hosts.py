"""Several hosts beside one: people and what they lose, figures, and one short run."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cluster.jetstream import StreamState
from relay.cluster.requests import ClusterStatus, HostStatus, RangeStatus
from relay.protocol.slots import ShardMap
from tests.bench.hosts.__main__ import hosts
from tests.bench.hosts.chat import Acked, Loner, firsts
from tests.bench.hosts.ordeals import (
    LOST,
    Away,
    Loss,
    Move,
    Pause,
    bytes_of,
    copies_of,
    has_all,
    longest_gap,
    lost_with,
)
from tests.bench.hosts.plan import Side, loads, people
from tests.bench.hosts.prices import Run, prices
from tests.bench.hosts.report import as_json, faults, shown
from tests.bench.hosts.watch import is_led_evenly, is_whole
from tests.bench.peers.drive import Load, Result
from tests.bench.peers.wires import TcpWire
from tests.outside.processes import REPOSITORY

SATURATED, SPARE = loads(300)


def status(*ranges: RangeStatus, silent: str = "", moving: int | None = None) -> ClusterStatus:
    return ClusterStatus(
        seen_by="a",
        has_majority=True,
        isolated=False,
        hosts={name: HostStatus("silent" if name == silent else "living") for name in "abc"},
        ranges=ranges,
        moving=moving,
    )


def of_range(owner: str, standing: dict[str, int], *, leader: str, last: int) -> RangeStatus:
    return RangeStatus(owner=owner, epoch=1, standing=standing, leader=leader, last=last)


WHOLE = of_range("a", {"b": 9}, leader="c", last=9)

# -- people ---------------------------------------------------------------------------------------


def test_people_are_spread_over_ranges_and_hosts_and_write_to_the_other_of_a_pair() -> None:
    crowd = people(48, ranges=4, hosts=3)

    assert len({person.name for person in crowd}) == 48
    assert Counter(person.range_ for person in crowd) == dict.fromkeys(range(4), 12)
    assert Counter(person.host for person in crowd) == dict.fromkeys(range(3), 16)
    for one, other in zip(crowd[::2], crowd[1::2], strict=True):
        assert (one.other, other.other) == (other.name, one.name)
        assert one.host != other.host
        assert one.range_ == ShardMap(4).owner_of(other.name)


def test_people_who_write_to_one_range_alone_do_so() -> None:
    assert {person.range_ for person in people(8, ranges=4, hosts=3, only=2)} == {2}


def test_a_user_acks_what_waited_for_it_but_no_receipts() -> None:
    loner = Loner("911", "912", TcpWire())
    loner.begin()
    loner.wire.out.clear()

    loner.received(
        rb'["q", {"data": "[[],[\"action\", {\"add\": \"relay\"}, [{\"key\": {\"fromMe\": false,'
        rb" \"id\": \"3EB0000000000007\", \"remoteJid\": \"912@s.whatsapp.com\"}, \"message\":"
        rb' {\"conversation\": \"x\"}}]],[\"Msg\", {\"id\": \"3EB0000000000001\", \"ack\": 2}]]",'
        rb' "from": "backend"}]'
    )

    assert loner.is_in
    assert loner.wire.out.count(b'"ack":2') == 1
    assert b"3EB0000000000007" in loner.wire.out


# -- what is made of a cluster's status -----------------------------------------------------------


def test_what_a_user_loses_with_a_host_is_the_first_of_host_owner_and_leader() -> None:
    of_a = status(WHOLE)

    assert lost_with("a", of_a, 0, is_there=True) == LOST[0]
    assert lost_with("a", of_a, 0, is_there=False) == LOST[1]
    assert lost_with("c", of_a, 0, is_there=False) == LOST[2]
    assert lost_with("b", of_a, 0, is_there=False) == LOST[3]


@pytest.mark.parametrize(
    "missing",
    [
        status(of_range("", {"b": 9}, leader="c", last=9)),
        status(of_range("a", {"b": 8}, leader="c", last=9)),
        status(of_range("a", {"b": 9}, leader="a", last=9)),
        status(of_range("a", {"b": 9}, leader="", last=9)),
        status(of_range("a", {}, leader="c", last=9)),
        status(WHOLE, silent="c"),
        status(WHOLE, moving=0),
    ],
)
def test_whole_is_what_loses_no_more_than_it_has_to_with_the_next_host(
    missing: ClusterStatus,
) -> None:
    assert is_whole(status(WHOLE, WHOLE))
    assert not is_whole(missing)


def test_logs_are_led_evenly_where_no_host_leads_two_more_than_another() -> None:
    led_by = {host: of_range("a", {"b": 9}, leader=host, last=9) for host in "abc"}

    assert is_led_evenly(status(led_by["a"], led_by["b"], led_by["c"], led_by["c"]))
    assert not is_led_evenly(status(led_by["a"], led_by["a"], led_by["b"]))


def test_a_host_has_what_its_standbys_have_and_all_of_what_it_owns_and_nothing_when_lost() -> None:
    both = WHOLE, of_range("b", {"c": 3}, leader="a", last=5)

    assert copies_of(status(*both), "b") == {0: 9, 1: 5}
    assert copies_of(status(*both), "c") == {1: 3}
    assert copies_of(status(*both, silent="b"), "b") == {}


def test_a_host_has_caught_up_when_it_has_the_last_record_of_each_of_its_ranges() -> None:
    logs = [StreamState(10, 1000, 1, 10), StreamState(0, 0, 21, 20)]

    assert has_all({0: 10, 1: 20}, (0, 1), logs)
    assert not has_all({0: 9, 1: 20}, (0, 1), logs)
    assert not has_all({0: 10}, (0, 1), logs)
    assert bytes_of({0: 4, 1: 7}, logs) == 400


# -- figures --------------------------------------------------------------------------------------


def test_the_longest_gap_reaches_from_bound_to_bound() -> None:
    assert longest_gap([0.5, 1.0, 2.0, 2.5, 9.0], 0.75, 3.0) == 1.0
    assert longest_gap([], 1.0, 3.0) == 2.0
    assert longest_gap([1.5], 1.0, 3.0) == 1.5


def test_of_each_person_the_first_ack_counts() -> None:
    acked = [Acked(1, 0.0, 1.0), Acked(2, 0.0, 1.5), Acked(1, 1.0, 2.0)]

    assert firsts(acked) == {1: acked[0], 2: acked[1]}


def run(hosts: int, cpu_us: float, *, load: Load = SATURATED, unfinished: int = 0) -> Run:
    """A run of a second, of 1,000 messages."""
    used = {"front": cpu_us * 0.0004, "owner": cpu_us * 0.0006, "engine": 0.05}
    result = Result(1000, 1.0, 0.0, 0.0, [1.0, 2.0, 3.0], [4.0], unfinished, 0)
    side = Side(hosts, 1 if hosts > 1 else 0)
    return Run(side, load, 1, result, used, 100 if hosts > 1 else None, 0.25)


def test_the_price_is_of_all_but_the_engines_and_stands_against_that_of_one_host() -> None:
    one, three = prices([run(3, 160), run(1, 80), run(3, 170), run(1, 100), run(3, 180)], SATURATED)

    assert one.side == Side(1)
    assert one.cpu_us == pytest.approx(90)
    assert three.cpu_us == pytest.approx(170)
    assert three.against_one == pytest.approx(170 / 90)
    assert three.engine_us == pytest.approx(50)
    assert three.by_role["owner"] == pytest.approx(102)
    assert three.messages_a_record == 10
    assert len(three.rates) == 3
    assert prices([run(1, 80)], SPARE) == []


LOSS = Loss("c", [Pause(LOST[0], 1.0), Pause(LOST[1], 3.0), Pause(LOST[3], None)], 0, 20.0)
AWAY = Away("c", 45.0, 12_000, 24_000_000, 2.0, 8.0, 7.0, 3.0, 30.0)


def test_all_that_was_measured_is_shown_and_written() -> None:
    runs = [run(1, 80), run(3, 160)]
    of_loads = [(load, prices(runs, load)) for load in (SATURATED, SPARE)]
    found = (of_loads, {Side(3, 1): {"agent": 0.03}}, [LOSS], [Move(1, "a", "b", 0.4, 0.02, 0.7)])

    told = shown(*found, [AWAY])
    written = json.loads(json.dumps(as_json(runs, *found, [AWAY]), allow_nan=False))

    assert "3 hosts, 1 in flight" in told
    assert "2.00" in told
    assert "its own host" in told
    assert "inf" in told
    assert "4,000" in told
    assert SPARE.name not in told
    assert written["aways"][0]["mb_a_second"] == 8.0
    assert written["losses"][0]["pauses"][0] == {"lost": "its own host", "seconds": 1.0}
    assert written["prices"][0]["messages_a_record"] is None


def test_what_is_lost_is_a_fault_and_a_slow_host_is_none() -> None:
    assert faults([run(1, 80)], [LOSS._replace(pauses=LOSS.pauses[:2])]) == []
    told = faults([run(1, 80, unfinished=2)], [LOSS._replace(whole_s=None)])
    assert len(told) == 3
    assert "2 messages" in told[0]
    assert "1 users" in told[1]


# -- the command ----------------------------------------------------------------------------------


def test_help_teaches_and_bad_parts_are_refused() -> None:
    told = CliRunner().invoke(hosts, ["--help"])

    assert told.exit_code == 0
    assert "SIGKILL of a whole host" in told.output
    for wrong in (["--parts", "prize"], ["--in-flight", "0"], ["--in-flight", "many"]):
        assert CliRunner().invoke(hosts, wrong).exit_code == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_hosts_are_measured_beside_one_and_a_range_is_moved(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.hosts", "--parts", "price,move"),
            *("--rounds", "1", "--moves", "1", "--seconds", "2", "--pairs", "20"),
            *("--json", str(tmp_path / "hosts.json")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / "hosts.json").read_text())
    assert [price["side"]["hosts"] for price in written["prices"]] == [1, 3, 1, 3]
    assert all(price["rate"] > 50 for price in written["prices"])
    assert all(price["engine_us"] > 0 for price in written["prices"] if price["side"]["hosts"] == 3)
    [moved] = written["moves"]
    assert 0 < moved["stood_s"] < 10
