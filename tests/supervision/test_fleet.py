"""What the fleet wants done when something happens, by a made-up clock and without a process."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.bus.topology import WorkerAddress
from relay.process.control import (
    GroupsChanged,
    Heartbeat,
    Outcome,
    SettingsChanged,
    Stop,
    TopologyChanged,
)
from relay.process.exitcodes import CANNOT_BOOT
from relay.settings.tables import Settings
from relay.supervision.actions import (
    Abort,
    Announce,
    CloseListener,
    Exit,
    Instruct,
    Kill,
    KillResharding,
    Spawn,
    StartResharding,
)
from relay.supervision.condition import Phase, Places
from relay.supervision.events import (
    Asker,
    Beat,
    ChannelClosed,
    Claimed,
    DrainAsked,
    Event,
    Exited,
    GroupsTaken,
    KillDue,
    Resharded,
    RollAsked,
    Served,
    SettingsTaken,
    SpawnFailed,
    StopAsked,
    WentDeaf,
)
from relay.supervision.fleet import ABORT_GRACE_S, BOOT_ATTEMPTS
from relay.supervision.hangs import BOOT_DEADLINE_S, STUCK_AFTER_S
from relay.supervision.rolling import MOST_DEATHS

from .fleet_harness import FIRST_PID, SUPERVISOR, FleetHarness


def taken(**supervisor: float) -> SettingsTaken:
    return SettingsTaken(Settings(supervisor=replace(SUPERVISOR, **supervisor)))


@pytest.fixture
def fleet() -> FleetHarness:
    """Two workers and a front that have yet to be started."""
    return FleetHarness(workers=2, fronts=1)


@pytest.fixture
def serving(fleet: FleetHarness) -> FleetHarness:
    fleet.serve()
    return fleet


# --- the start ---


def test_all_start_at_once_where_the_data_are_laid_out(fleet: FleetHarness) -> None:
    actions = fleet.feed(Claimed(laid_out=True))

    assert [a for a in actions if isinstance(a, Spawn)] == [
        Spawn("worker", 0, 1),
        Spawn("worker", 1, 2),
        Spawn("front", 0, 3),
    ]
    assert StartResharding() not in actions


def test_the_ready_line_is_written_once_when_all_serve(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True))
    worker, other, front = fleet.processes
    fleet.served(worker)
    fleet.served(front)
    assert Announce() not in fleet.done

    fleet.served(other)
    fleet.die(worker)
    fleet.advance(1)
    fleet.all_serve()

    assert fleet.done.count(Announce()) == 1


def test_other_data_are_laid_out_anew_before_anything_starts(fleet: FleetHarness) -> None:
    assert fleet.feed(Claimed(laid_out=False)) == [StartResharding()]

    fleet.resharding = False
    fleet.feed(Resharded(0, oom_kills=0))

    assert len(fleet.processes) == 3


def test_a_failed_re_sharding_ends_the_start(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=False))
    fleet.resharding = False

    fleet.feed(Resharded(CANNOT_BOOT, oom_kills=0))

    assert fleet.exit_code == 1
    [line] = fleet.logged("reshard.exited")
    assert line["exit_code"] == CANNOT_BOOT
    assert fleet.level("reshard.exited") == "error"


def test_a_stop_kills_the_re_sharding_and_waits_for_its_end(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=False))

    assert KillResharding() in fleet.feed(StopAsked("SIGTERM"))
    assert fleet.exit_code is None

    fleet.resharding = False
    fleet.feed(Resharded(-signal.SIGKILL, oom_kills=0))
    assert fleet.exit_code == 0
    assert fleet.logged("reshard.exited") == []


def test_a_stop_before_all_is_claimed_starts_nothing(fleet: FleetHarness) -> None:
    assert fleet.feed(StopAsked("SIGTERM"))[-1] == Exit(0)
    assert fleet.fleet.handle(Claimed(laid_out=True), now_s=fleet.now_s) == []


def test_a_start_that_takes_too_long_is_given_up(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True))
    worker, other, front = fleet.processes
    fleet.served(other)

    fleet.advance(BOOT_DEADLINE_S)

    [line] = fleet.logged("supervisor.boot_overdue")
    assert line == {"deadline_s": BOOT_DEADLINE_S, "waiting_for": ["worker 0", "front 0"]}
    fleet.die(front, returncode=0)
    fleet.die(worker, other, returncode=0)
    assert fleet.exit_code == 1


def test_a_fleet_that_once_served_has_no_boot_deadline(serving: FleetHarness) -> None:
    serving.die(serving.child("worker", 0))

    serving.advance(BOOT_DEADLINE_S)

    assert serving.logged("supervisor.boot_overdue") == []


def test_one_that_cannot_boot_ends_the_first_start_at_once(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True))

    fleet.die(fleet.child("worker", 0), returncode=CANNOT_BOOT)

    assert fleet.level("worker.exited") == "error"
    assert "restart_in_ms" not in fleet.logged("worker.exited")[-1]
    fleet.die(fleet.child("front"), returncode=0)
    fleet.die(fleet.child("worker", 1), returncode=0)
    assert fleet.exit_code == 1


def test_the_first_start_bears_a_few_deaths_and_no_more(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True))

    for _ in range(BOOT_ATTEMPTS - 1):
        fleet.die(fleet.child("worker", 0))
        assert not fleet.fleet.is_stopping
        fleet.advance(2)

    fleet.die(fleet.child("worker", 0))
    assert fleet.fleet.is_stopping
    assert fleet.level("worker.exited") == "error"


def test_a_process_that_cannot_be_started_counts_as_a_death(fleet: FleetHarness) -> None:
    fleet.spawns_fail = True

    fleet.feed(Claimed(laid_out=True))

    [line] = fleet.logged("front.exited")
    assert list(line) == ["index", "error", "attempt", "restart_in_ms"]
    assert line["error"] == "cannot start it: no room"
    fleet.spawns_fail = False
    fleet.advance(1)
    assert len(fleet.processes) == 3


# --- the topology ---


def test_a_front_is_listed_from_its_start_and_a_worker_once_it_serves(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True))
    worker, other, front = fleet.processes
    assert fleet.topology(other).fronts == (f"front-0-{front}",)
    assert fleet.topology(other).workers == ()

    fleet.served(other)

    for number in (worker, other, front):
        assert fleet.topology(number).workers == (
            WorkerAddress(1, 2048, 4095, f"ipc://{other}", other),
        )


def test_each_change_has_the_next_epoch_and_is_told_to_all(serving: FleetHarness) -> None:
    epoch = serving.topology(serving.child("front")).epoch

    serving.die(serving.child("worker", 0))

    for number in serving.processes:
        assert serving.topology(number).epoch == epoch + 1


def test_what_changes_at_once_is_told_once(serving: FleetHarness) -> None:
    front = serving.child("front")
    before = len(serving.told[front])

    serving.die(*serving.children("worker"))

    assert len(serving.told[front]) == before + 1
    assert serving.topology(front).workers == ()


def test_nothing_is_told_where_nothing_has_changed(serving: FleetHarness) -> None:
    assert serving.feed(*map(Beat, serving.processes)) == []


def test_a_new_process_is_told_the_topology_first(serving: FleetHarness) -> None:
    epoch = serving.topology(serving.child("front")).epoch
    serving.die(serving.child("worker", 0))

    serving.advance(1)

    first = serving.told[serving.child("worker", 0)][0]
    assert isinstance(first, TopologyChanged)
    assert first.topology.epoch == epoch + 1


def test_a_worker_whose_channel_has_ended_is_listed_no_more_and_told_nothing(
    serving: FleetHarness,
) -> None:
    worker = serving.child("worker", 0)

    serving.close_channel(worker)  # a message to it would fail the harness

    assert [w.index for w in serving.topology(serving.child("front")).workers] == [1]
    assert worker in serving.processes


# --- deaths ---


def test_a_death_is_one_line_and_answered_with_a_restart(serving: FleetHarness) -> None:
    worker = serving.child("worker", 0)
    serving.advance(3.04)

    serving.die(worker)

    [line] = serving.logged("worker.exited")
    assert list(line) == [
        *("index", "pid", "signal", "hint", "uptime_s", "attempt", "restart_in_ms")
    ]
    assert (line["index"], line["pid"], line["signal"]) == (0, FIRST_PID + worker, "SIGKILL")
    assert (line["uptime_s"], line["attempt"]) == (3.0, 1)
    [delay_s] = serving.restart_delays()
    assert line["restart_in_ms"] == round(delay_s * 1000)
    assert serving.level("worker.exited") == "warning"
    assert [s.index for s in serving.processes.values() if s.role == "worker"] == [1]
    serving.advance(delay_s)
    assert serving.child("worker", 0) > worker


def test_deaths_in_a_row_are_answered_ever_later(serving: FleetHarness) -> None:
    for _ in range(6):
        serving.die(serving.child("worker", 0))
        serving.advance(serving.restart_delays()[-1])

    delays = serving.restart_delays()
    assert delays == sorted(delays)
    assert [line["attempt"] for line in serving.logged("worker.exited")] == [1, 2, 3, 4, 5, 6]
    assert serving.exit_code is None


def test_one_that_cannot_boot_later_is_tried_at_the_slow_pace(serving: FleetHarness) -> None:
    serving.die(serving.child("worker", 0), returncode=CANNOT_BOOT)

    assert serving.restart_delays() == [SUPERVISOR.restart_max_s]
    assert not serving.fleet.is_stopping


def test_only_an_oom_kill_since_the_last_death_is_blamed(serving: FleetHarness) -> None:
    serving.oom_kills = 1
    serving.die(serving.child("worker", 0))
    serving.die(serving.child("worker", 1))

    first, second = serving.logged("worker.exited")
    assert "OOM killer has struck" in first["hint"]
    assert "from outside" in second["hint"]


def test_what_is_said_of_a_dead_one_is_overlooked(serving: FleetHarness) -> None:
    worker = serving.child("worker", 0)
    serving.die(worker)

    late: list[Event] = [Beat(worker), Served(worker, "x"), KillDue(worker), WentDeaf(worker)]
    late += [ChannelClosed(worker), Exited(worker, 0, 0), SpawnFailed(worker, "x")]

    assert serving.feed(*late) == []


# --- hangs ---


def test_one_that_boots_slowly_has_begun_to_live_when_it_serves(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True))
    fleet.advance(BOOT_DEADLINE_S - 5)
    fleet.all_serve()
    fleet.silent = set(fleet.processes)

    fleet.advance(SUPERVISOR.hung_after_s - 1)

    assert not any(isinstance(action, Abort) for action in fleet.done)


def test_one_that_hangs_is_asked_for_its_stack_and_then_killed(serving: FleetHarness) -> None:
    worker = serving.child("worker", 0)
    serving.silent = {worker}

    actions = serving.advance(SUPERVISOR.hung_after_s + 1.5)

    assert Abort(worker) in actions
    assert Kill(worker) not in actions
    [line] = serving.logged("worker.hung")
    assert list(line) == ["index", "pid", "silent_s"]
    assert line["silent_s"] >= SUPERVISOR.hung_after_s
    assert Kill(worker) in serving.advance(ABORT_GRACE_S)
    serving.die(worker)
    assert "hint" not in serving.logged("worker.exited")[0]  # it was us


def test_one_that_dies_of_the_abort_is_not_killed(serving: FleetHarness) -> None:
    worker = serving.child("worker", 0)
    serving.silent = {worker}
    serving.advance(SUPERVISOR.hung_after_s + 1.5)

    serving.die(worker, returncode=-signal.SIGABRT)
    serving.advance(1)
    successor = serving.child("worker", 0)
    actions = serving.advance(ABORT_GRACE_S)

    assert Kill(worker) not in actions
    assert Kill(successor) not in actions


def test_a_pause_of_our_own_is_held_against_nobody(serving: FleetHarness) -> None:
    serving.sleep(3600)
    serving.advance(5)

    assert not any(isinstance(action, Abort) for action in serving.done)


def test_one_that_reads_nothing_is_killed(serving: FleetHarness) -> None:
    front = serving.child("front")

    assert Kill(front) in serving.feed(WentDeaf(front))

    assert serving.logged("front.deaf") == [{"index": 0, "pid": FIRST_PID + front}]
    assert serving.level("front.deaf") == "error"


# --- how it is ---


def test_each_phase_of_a_life_is_told_from_the_others(fleet: FleetHarness) -> None:
    def phase() -> Phase:
        return fleet.condition().phase

    phases = [phase()]
    fleet.feed(Claimed(laid_out=False))
    phases.append(phase())
    fleet.resharding = False
    fleet.feed(Resharded(0, oom_kills=0))
    phases.append(phase())
    fleet.all_serve()
    phases.append(phase())
    fleet.feed(RollAsked())
    phases.append(phase())
    fleet.feed(StopAsked("SIGTERM"))
    phases.append(phase())

    assert phases == [
        *(Phase.STARTING, Phase.LAYING_OUT, Phase.STARTING),
        *(Phase.SERVING, Phase.RENEWING, Phase.STOPPING),
    ]


def test_who_is_missing_is_known_and_what_the_fronts_last_told(serving: FleetHarness) -> None:
    front = serving.child("front")
    serving.feed(Beat(front, Heartbeat(3, 4, 5)), Beat(front, Heartbeat(4, 5, 6)))
    serving.die(serving.child("worker", 1))

    condition = serving.condition()

    assert (condition.fronts, condition.workers) == (Places(1, 1), Places(1, 2))
    assert condition.told == {front: Heartbeat(4, 5, 6)}
    assert condition.gets_on  # it is replaced


def test_one_that_hangs_and_outlives_its_kill_is_stuck_until_it_is_gone(
    serving: FleetHarness,
) -> None:
    worker = serving.child("worker", 1)
    serving.silent = {worker}
    serving.advance(SUPERVISOR.hung_after_s + STUCK_AFTER_S - 1)
    assert Kill(worker) in serving.done
    assert serving.condition().gets_on

    serving.advance(2)
    assert serving.condition().stuck == ("worker 1",)

    serving.die(worker)
    assert serving.condition().gets_on


def test_one_that_takes_long_to_start_is_not_stuck_before_it_is_killed(
    fleet: FleetHarness,
) -> None:
    fleet.serve()
    fleet.die(fleet.child("worker", 0))
    fleet.advance(1)
    fleet.silent = {fleet.child("worker", 0)}

    fleet.advance(BOOT_DEADLINE_S + ABORT_GRACE_S + 2)

    assert Kill(fleet.child("worker", 0)) in fleet.done
    assert fleet.condition().gets_on


# --- settings and groups ---


def test_new_settings_are_told_to_all_and_new_groups_to_the_workers(serving: FleetHarness) -> None:
    taken = Settings(supervisor=SUPERVISOR)

    serving.feed(SettingsTaken(taken), GroupsTaken())

    told = serving.told[serving.child("worker", 1)]
    assert told[-2:] == [SettingsChanged(taken), GroupsChanged()]
    assert serving.told[serving.child("front")][-1] == SettingsChanged(taken)


def test_a_shorter_interval_holds_at_once_and_overlooks_the_silence_before() -> None:
    slow = replace(SUPERVISOR, heartbeat_s=600, hung_after_s=3600)
    fleet = FleetHarness(supervisor=slow)
    fleet.serve()
    worker = fleet.child("worker", 0)
    fleet.silent = {worker}
    fleet.advance(10)

    fleet.feed(taken(heartbeat_s=0.5, hung_after_s=3))

    assert Abort(worker) not in fleet.advance(2.9)
    assert Abort(worker) in fleet.advance(1.2)
    assert all(Abort(n) not in fleet.done for n in fleet.processes if n != worker)


def test_a_change_of_the_interval_leaves_one_timer(serving: FleetHarness) -> None:
    for _ in range(5):
        serving.feed(taken())
    serving.advance(1)  # what was set before is let go

    before = len(serving.done)
    serving.advance(10)

    assert len(serving.done) - before == 10


def test_settings_taken_during_the_start_do_not_start_the_watch(fleet: FleetHarness) -> None:
    assert fleet.feed(taken()) == []


def test_other_restart_bounds_hold_from_the_next_death_on(serving: FleetHarness) -> None:
    serving.feed(taken(restart_min_s=4, restart_max_s=4))

    serving.die(serving.child("worker", 0))

    assert 2 <= serving.restart_delays()[0] <= 4


# --- a rolling restart ---


def test_a_worker_is_told_to_stop_and_followed_when_it_is_gone(serving: FleetHarness) -> None:
    old = serving.child("worker", 0)

    serving.feed(RollAsked())

    assert serving.told[old][-1] == Stop(SUPERVISOR.stop_deadline_s)
    assert serving.children("worker") == [old, serving.child("worker", 1)]
    serving.die(old, returncode=0)
    assert serving.child("worker", 0) > old
    assert serving.restart_delays() == []  # at once
    assert serving.level("worker.exited") == "info"


def test_a_front_is_told_to_stop_when_its_successor_serves() -> None:
    fleet = FleetHarness(workers=1, fronts=1)
    fleet.serve()
    old = fleet.child("front")
    fleet.feed(RollAsked())
    fleet.die(fleet.child("worker"), returncode=0)
    fleet.served(fleet.child("worker"))

    successor = fleet.child("front")
    assert successor > old
    assert not any(isinstance(message, Stop) for message in fleet.told[old])
    fleet.served(successor)

    # The topology has not changed since, so that nothing but this is said.
    assert fleet.told[old][-1] == Stop(SUPERVISOR.stop_deadline_s)
    assert fleet.logged("supervisor.rolled") == []
    fleet.die(old, returncode=0)
    assert fleet.logged("supervisor.rolled") == [{}]


def test_one_after_another_is_renewed(serving: FleetHarness) -> None:
    before = set(serving.processes)
    serving.feed(RollAsked())
    assert serving.logged("supervisor.rolling") == [{"children": 3}]

    for _ in range(10):
        stop = Stop(SUPERVISOR.stop_deadline_s)
        leaving = [number for number in serving.processes if stop in serving.told[number]]
        assert len(leaving) <= 1
        if leaving:
            serving.die(*leaving, returncode=0)
        serving.all_serve()

    assert serving.logged("supervisor.rolled") == [{}]
    assert len(serving.processes) == 3
    assert not before & set(serving.processes)


def test_one_is_told_to_stop_once_however_much_happens_until_it_does(
    serving: FleetHarness,
) -> None:
    old = serving.child("worker", 0)
    serving.feed(RollAsked())

    serving.advance(5)
    serving.die(serving.child("front"))

    assert serving.told[old].count(Stop(SUPERVISOR.stop_deadline_s)) == 1


def test_one_that_died_before_is_renewed_like_any_other() -> None:
    fleet = FleetHarness(workers=1, fronts=1)
    fleet.serve()
    fleet.die(fleet.child("worker"), fleet.child("front"))
    fleet.advance(1)
    fleet.all_serve()
    worker, front = fleet.child("worker"), fleet.child("front")

    fleet.feed(RollAsked())
    fleet.die(worker, returncode=0)
    fleet.all_serve()
    fleet.all_serve()
    fleet.die(front, returncode=0)

    assert fleet.logged("supervisor.rolled") == [{}]
    assert not {worker, front} & set(fleet.processes)


def test_one_that_does_not_leave_is_killed_at_the_deadline(serving: FleetHarness) -> None:
    old = serving.child("worker", 0)
    serving.feed(RollAsked())

    assert Kill(old) in serving.advance(SUPERVISOR.stop_deadline_s)
    serving.die(old)

    assert serving.level("worker.exited") == "warning"
    assert serving.child("worker", 0) > old


def test_the_roll_waits_for_one_that_is_dead_just_now(serving: FleetHarness) -> None:
    serving.die(serving.child("worker", 0))
    other = serving.child("worker", 1)

    serving.feed(RollAsked())
    assert Stop(SUPERVISOR.stop_deadline_s) not in serving.told[other]
    serving.advance(1)
    serving.served(serving.child("worker", 0))

    assert serving.told[other][-1] == Stop(SUPERVISOR.stop_deadline_s)


def test_a_successor_that_dies_is_started_again_by_its_backoff() -> None:
    fleet = FleetHarness(workers=1, fronts=1)
    fleet.serve()
    old = fleet.child("front")
    fleet.feed(RollAsked())
    fleet.die(fleet.child("worker"), returncode=0)
    fleet.served(fleet.child("worker"))

    fleet.die(fleet.child("front"))

    assert fleet.children("front") == [old]
    fleet.advance(fleet.restart_delays()[-1])
    assert fleet.child("front") > old
    assert fleet.told[old][-1] != Stop(SUPERVISOR.stop_deadline_s)


def test_nothing_is_renewed_where_the_code_in_place_was_refused(serving: FleetHarness) -> None:
    before = dict(serving.processes)
    serving.refusal = "it has a syntax error"

    serving.feed(RollAsked())

    assert serving.logged("supervisor.not_rolled") == [{"reason": "it has a syntax error"}]
    assert serving.processes == before
    serving.refusal = ""
    serving.feed(RollAsked())
    assert serving.logged("supervisor.rolling") == [{"children": 3}]


def test_a_newer_supervisor_goes_on_with_what_serves(serving: FleetHarness) -> None:
    numbers = set(serving.processes)
    epoch = serving.topology(serving.child("front")).epoch
    serving.advance(3)
    found = serving.fleet.as_it_is()

    successor = FleetHarness()
    successor.processes, successor.connected = serving.processes, serving.connected
    successor.told, successor._numbers = serving.told, serving._numbers
    successor.feed(found)

    assert [each.incarnation for each in found.children] == sorted(numbers)
    assert successor.topology(successor.child("front")).epoch == epoch + 1
    worker = successor.child("worker", 0)
    assert successor.told[worker][-1] == Stop(SUPERVISOR.stop_deadline_s)
    successor.die(worker, returncode=0)
    assert successor.child("worker", 0) > max(numbers)
    assert Announce() not in successor.done


@pytest.mark.parametrize(("returncode", "deaths"), [(CANNOT_BOOT, 1), (-9, MOST_DEATHS)])
def test_a_roll_ends_at_a_front_that_cannot_start_and_the_old_one_stays(
    returncode: int, deaths: int
) -> None:
    fleet = FleetHarness(workers=1, fronts=2)
    fleet.serve()
    old, other = fleet.children("front")
    fleet.feed(RollAsked())
    fleet.die(fleet.child("worker"), returncode=0)
    fleet.served(fleet.child("worker"))

    for death in range(deaths):
        assert fleet.logged("supervisor.roll_given_up") == []
        if death:
            fleet.advance(fleet.restart_delays()[-1])
        fleet.die(fleet.child("front", 0), returncode=returncode)

    assert fleet.logged("supervisor.roll_given_up") == [{"seat": "front 0"}]
    fleet.advance(30)
    assert fleet.children("front") == [old, other]
    stop = Stop(SUPERVISOR.stop_deadline_s)
    assert all(stop not in fleet.told[number] for number in (old, other))
    assert not any(isinstance(action, CloseListener) for action in fleet.done)


def test_a_roll_ends_at_a_worker_that_cannot_start_and_it_is_tried_again(
    serving: FleetHarness,
) -> None:
    other, front = serving.child("worker", 1), serving.child("front")
    serving.feed(RollAsked())
    serving.die(serving.child("worker", 0), returncode=0)

    serving.die(serving.child("worker", 0), returncode=CANNOT_BOOT)

    assert serving.logged("supervisor.roll_given_up") == [{"seat": "worker 0"}]
    serving.advance(SUPERVISOR.restart_max_s)
    assert serving.child("worker", 0) > front
    serving.all_serve()
    assert {other, front} <= set(serving.processes)


def test_the_queue_of_a_front_is_kept_for_its_successor_unless_that_takes_long(
    serving: FleetHarness,
) -> None:
    front = serving.child("front")
    assert CloseListener(0) not in serving.die(front)
    serving.advance(2)

    assert CloseListener(0) in serving.die(serving.child("front"), returncode=CANNOT_BOOT)


def test_a_stop_closes_every_queue(serving: FleetHarness) -> None:
    actions = serving.feed(StopAsked("SIGTERM"))

    told = Instruct(serving.child("front"), Stop(15.0))
    assert actions.index(CloseListener(0)) < actions.index(told)


def test_the_next_roll_may_begin_when_one_is_over(serving: FleetHarness) -> None:
    serving.feed(RollAsked())

    serving.feed(RollAsked())

    assert len(serving.logged("supervisor.not_rolled")) == 1
    assert len(serving.logged("supervisor.rolling")) == 1


def test_there_is_no_roll_before_all_serve_and_none_in_a_stop(fleet: FleetHarness) -> None:
    fleet.feed(Claimed(laid_out=True), RollAsked())
    assert fleet.level("supervisor.not_rolled") == "warning"

    fleet.all_serve()
    fleet.feed(StopAsked("SIGTERM"), RollAsked())

    assert len(fleet.logged("supervisor.not_rolled")) == 2
    assert fleet.logged("supervisor.rolling") == []


# --- a stop ---


def test_a_stop_is_in_order_and_exits_0(serving: FleetHarness) -> None:
    front, workers = serving.child("front"), serving.children("worker")

    serving.feed(StopAsked("SIGTERM"))
    assert serving.logged("supervisor.stopping") == [{"signal": "SIGTERM"}]
    assert serving.told[front][-1] == Stop(15.0)
    assert not any(isinstance(serving.told[n][-1], Stop) for n in workers)
    serving.advance(3)
    serving.die(front, returncode=0)
    assert all(serving.told[n][-1] == Stop(17.0) for n in workers)
    serving.die(*workers, returncode=0)

    assert serving.exit_code == 0


def test_nothing_is_started_again_in_a_stop(serving: FleetHarness) -> None:
    serving.die(serving.child("worker", 0))
    serving.feed(StopAsked("SIGTERM"))

    serving.die(serving.child("front"))
    serving.advance(10)

    assert len(serving.processes) == 1  # the harness lets nothing be spawned in a stop
    assert "restart_in_ms" not in serving.logged("front.exited")[0]
    assert serving.level("front.exited") == "warning"


def test_a_second_sigint_hurries_and_a_sigterm_does_not(serving: FleetHarness) -> None:
    workers = serving.children("worker")
    serving.feed(StopAsked("SIGINT"))
    assert serving.feed(StopAsked("SIGTERM")) == []

    serving.feed(StopAsked("SIGINT"))

    assert serving.logged("supervisor.hurrying") == [{"signal": "SIGINT"}]
    assert all(serving.told[number][-1] == Stop(1.0) for number in workers)
    actions = serving.advance(1)
    assert all(Kill(number) in actions for number in serving.processes)
    serving.die(*serving.processes)
    assert serving.exit_code == 0


def test_those_who_hang_in_a_stop_are_its_deadlines_to_kill(serving: FleetHarness) -> None:
    front, workers = serving.child("front"), serving.children("worker")
    serving.silent = set(serving.processes)
    serving.feed(StopAsked("SIGTERM"))

    assert not any(isinstance(action, Kill) for action in serving.advance(14.9))
    assert [a for a in serving.advance(0.2) if isinstance(a, Kill)] == [Kill(front)]
    serving.die(front)
    killed = [a for a in serving.advance(5) if isinstance(a, Kill)]

    assert killed == [Kill(number) for number in workers]
    assert not any(isinstance(action, Abort) for action in serving.done)
    assert serving.logged("front.stop_overdue") == [{"index": 0, "pid": FIRST_PID + front}]


def test_a_stop_in_a_rolling_restart_stops_both_of_a_seat() -> None:
    fleet = FleetHarness(workers=1, fronts=1)
    fleet.serve()
    fleet.feed(RollAsked())
    fleet.die(fleet.child("worker"), returncode=0)
    fleet.served(fleet.child("worker"))
    assert len(fleet.children("front")) == 2

    fleet.feed(StopAsked("SIGTERM"))

    assert all(Stop(15.0) in fleet.told[number] for number in fleet.children("front"))
    fleet.die(*fleet.children("front"), returncode=0)
    fleet.die(fleet.child("worker"), returncode=0)
    assert fleet.exit_code == 0


# --- whatever happens ---

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["die", "serve", "wait", "close", "roll", "reload", "deaf", "no_spawn"]),
        st.integers(0, 20),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS, hurry=st.booleans())
def test_whatever_happens_a_stop_leaves_nobody_and_no_store_has_two_holders(
    steps: list[tuple[str, int]], hurry: bool
) -> None:
    fleet = FleetHarness(workers=2, fronts=2)  # its own checks are half of this test
    fleet.serve()
    for step, number in steps:
        fleet.spawns_fail = step == "no_spawn"
        victim = sorted(fleet.processes)[number % len(fleet.processes)] if fleet.processes else 0
        match step:
            case "die" if victim:
                fleet.die(victim, returncode=-number)
            case "serve":
                for each in sorted(fleet.connected):
                    fleet.served(each)
            case "close" if victim in fleet.connected:
                fleet.close_channel(victim)
            case "deaf" if victim in fleet.connected:
                fleet.feed(WentDeaf(victim))
            case "roll":
                fleet.feed(RollAsked())
            case "reload":
                fleet.feed(taken())
            case _:
                fleet.advance(number)
        assert fleet.exit_code is None

    fleet.feed(StopAsked("SIGINT"))
    if hurry and fleet.exit_code is None:
        fleet.feed(StopAsked("SIGINT"))
    while fleet.exit_code is None:
        before = len(fleet.done)
        fleet.advance(1 if hurry else SUPERVISOR.stop_deadline_s)
        killed = {action.incarnation for action in fleet.done[before:] if isinstance(action, Kill)}
        assert killed
        fleet.die(*killed & set(fleet.processes))

    assert fleet.exit_code == 0
    assert isinstance(fleet.done[-1], Exit)


def test_a_message_is_only_sent_to_one_whose_channel_is_open(serving: FleetHarness) -> None:
    worker = serving.child("worker", 0)
    serving.close_channel(worker)

    actions = serving.feed(GroupsTaken(), taken())

    assert worker not in [action.incarnation for action in actions if isinstance(action, Instruct)]


# --- the admin, whom nobody waits for ---


def test_the_admin_is_started_when_all_others_serve() -> None:
    fleet = FleetHarness(admin=True)
    fleet.feed(Claimed(laid_out=True))
    assert not fleet.children("admin")

    fleet.all_serve()

    spawned = Spawn("admin", 0, fleet.child("admin"))
    assert fleet.done.index(Announce()) < fleet.done.index(spawned)


def test_the_admins_death_is_no_reason_to_stop() -> None:
    fleet = FleetHarness(admin=True)
    fleet.serve()
    for _ in range(2 * BOOT_ATTEMPTS):
        fleet.die(fleet.child("admin"), returncode=CANNOT_BOOT)
        fleet.advance(30)

    assert fleet.children("admin")
    assert fleet.exit_code is None
    assert not fleet.fleet.is_stopping


def test_the_admin_outlasts_the_fronts_in_a_stop() -> None:
    fleet = FleetHarness(admin=True)
    fleet.serve()
    admin, workers = fleet.child("admin"), fleet.children("worker")
    fleet.feed(StopAsked("SIGTERM"))
    assert not any(isinstance(told, Stop) for told in fleet.told[admin])

    fleet.die(fleet.child("front"), returncode=0)
    assert isinstance(fleet.told[admin][-1], Stop)
    fleet.die(*workers, returncode=0)
    assert fleet.exit_code is None

    fleet.die(admin, returncode=0)
    assert fleet.exit_code == 0


# --- one process, for an operator ---


def told_of(fleet: FleetHarness, admin: int) -> list[Outcome]:
    return [message for message in fleet.told[admin] if isinstance(message, Outcome)]


@pytest.fixture
def steered() -> FleetHarness:
    """A fleet with an admin that serves."""
    fleet = FleetHarness(workers=1, fronts=2, admin=True)
    fleet.serve()
    fleet.served(fleet.child("admin"))
    return fleet


def test_a_drain_renews_one_process_and_tells_who_has_asked(steered: FleetHarness) -> None:
    admin, old = steered.child("admin"), steered.child("front", 1)
    others = [steered.child("worker"), steered.child("front", 0), admin]

    steered.feed(DrainAsked("front", 1, Asker(admin, 7)))
    new = steered.children("front")[-1]
    steered.served(new)
    assert steered.told[old][-1] == Stop(SUPERVISOR.stop_deadline_s)
    steered.die(old, returncode=0)

    assert [(each.number, each.state) for each in told_of(steered, admin)] == [
        (7, "running"),
        (7, "done"),
    ]
    assert set(others) <= set(steered.processes)
    assert steered.logged("supervisor.rolled") == []


def test_a_drain_of_what_is_not_there_or_beside_a_roll_fails(steered: FleetHarness) -> None:
    admin = steered.child("admin")

    steered.feed(DrainAsked("front", 7, Asker(admin, 1)))
    steered.feed(RollAsked(Asker(admin, 0)))
    steered.feed(DrainAsked("front", 0, Asker(admin, 2)))

    states = [(each.number, each.state) for each in told_of(steered, admin)]
    assert (1, "failed") in states
    assert (2, "failed") in states


def test_who_has_asked_and_died_is_not_told(steered: FleetHarness) -> None:
    admin, old = steered.child("admin"), steered.child("front", 1)
    steered.feed(DrainAsked("front", 1, Asker(admin, 7)))
    steered.die(admin)

    steered.served(steered.children("front")[-1])
    steered.die(old, returncode=0)

    assert steered.logged("supervisor.drained") == [{"seat": "front 1"}]


def test_a_drain_whose_successor_cannot_start_says_so_and_the_old_one_stays(
    steered: FleetHarness,
) -> None:
    admin, old = steered.child("admin"), steered.child("front", 1)
    steered.feed(DrainAsked("front", 1, Asker(admin, 7)))

    new = next(each for each in steered.children("front") if each > admin)
    steered.die(new, returncode=CANNOT_BOOT)

    assert told_of(steered, admin)[-1].state == "failed"
    assert old in steered.processes
    steered.feed(DrainAsked("front", 0, Asker(admin, 8)))
    assert told_of(steered, admin)[-1] == Outcome(8, "running", "front 0 is renewed")
