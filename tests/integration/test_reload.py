"""SIGHUP has a running relay take other settings, and no client notices."""

import signal
from typing import Any

import pytest

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import ALICE, BOB, CAROL, GROUP, ack_1, delivery
from tests.outside.processes import lives
from tests.outside.relay import DEBUG, Relay
from tests.outside.waiting import DEADLINE_S, poll_for

from .conftest import RelayStarter


def reload(relay: Relay, config: str, outcome: str) -> dict[str, Any]:
    """Have the relay read `config` and return its log line of this `outcome`."""
    before = len(relay.log.events(outcome))
    relay.config_path.write_text(config)
    relay.reload()
    poll_for(f"{outcome} in the log", lambda: len(relay.log.events(outcome)) > before)
    return relay.log.events(outcome)[-1]


def pids(relay: Relay) -> list[int]:
    return [child.process.pid for child in relay.children()]


def message_of(size: int) -> dict[str, str]:
    return {"conversation": "x" * size}


def send(client: SheetClient, to: str, message_id: str, size: int = 1) -> None:
    client.send_message(to, message_id, message_of(size))


def test_a_lower_message_limit_holds_for_sessions_that_are_open(start_relay: RelayStarter) -> None:
    relay = start_relay(config=DEBUG)
    alice, bob = relay.logged_in(ALICE, BOB)
    send(alice, BOB, "BEFORE", 2000)
    alice.expect(ack_1("BEFORE", author=ALICE, to=BOB))
    bob.expect(delivery("BEFORE", author=ALICE, message=message_of(2000)))
    before = pids(relay)

    line = relay.take(DEBUG + "[limits]\nmessage_bytes = 1000\n")

    assert line["changed"] == ["limits.message_bytes: 65536 -> 1000"]
    assert line["path"] == str(relay.config_path)
    send(alice, BOB, "LARGE", 2000)
    alice.expect_error(413, message_id="LARGE")
    exchange_marker(alice, bob)  # neither was disconnected
    assert pids(relay) == before


def test_a_rate_holds_for_sessions_that_are_open_and_can_be_lifted_again(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=DEBUG)
    alice = relay.login(ALICE)

    relay.take(DEBUG + "[limits]\nframes_per_s = 0.001\nframes_burst = 1\n")

    send(alice, BOB, "FIRST")
    alice.expect(ack_1("FIRST", author=ALICE, to=BOB))
    send(alice, BOB, "SECOND")
    alice.expect_error(429, message_id="SECOND")

    relay.take(DEBUG)

    for message_id in ("THIRD", "FOURTH"):
        send(alice, BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))


def test_a_shorter_ping_interval_holds_for_sessions_that_are_open(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=DEBUG + "[keepalive]\nping_interval_s = 3600\n")
    alice = relay.login(ALICE)

    relay.take(DEBUG + "[keepalive]\nping_interval_s = 0.1\n")

    alice.wait_for_pings(2)


def test_a_lower_mailbox_limit_holds_for_mailboxes_that_are_over_it(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    alice = relay.login(ALICE)
    for message_id in ("A", "B", "C"):
        send(alice, BOB, message_id)
        alice.expect(ack_1(message_id, author=ALICE, to=BOB))

    relay.take(DEBUG + "[mailbox]\nmax_entries = 2\n")

    send(alice, BOB, "D")
    alice.expect_error(507, message_id="D")
    # A later incarnation starts with the same settings.
    [worker] = relay.children("worker")
    worker.process.kill()
    poll_for("its end", lambda: not lives(worker.process))
    send(alice, BOB, "E")
    alice.expect_error(507, message_id="E")
    assert len(relay.login(BOB).queued) == 3  # what waited is not thrown away


def test_more_room_to_keep_on_the_disk_holds_at_once(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    relay.log.expect("store.refuses_sends")
    alice = relay.login(ALICE)

    relay.take(DEBUG + "[store]\nmin_free_bytes = 1099511627776\n")

    send(alice, BOB, "REFUSED")
    alice.expect_error(500, message_id="REFUSED")

    relay.take(DEBUG)

    send(alice, BOB, "TAKEN")
    alice.expect(ack_1("TAKEN", author=ALICE, to=BOB))


def test_a_bad_file_is_refused_whole_and_the_groups_of_the_same_signal_are_taken(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config=DEBUG)
    alice, carol = relay.logged_in(ALICE, CAROL)
    relay.write_groups({GROUP: [ALICE, BOB]})
    relay.log.expect("settings.refused")

    bad = "[limits]\nmessage_bytes = 1000\nframes_burst = 0\n"
    line = reload(relay, bad, "settings.refused")

    assert line["path"] == str(relay.config_path)
    assert "limits.frames_burst = 0" in line["reason"]
    assert "an integer from 1 to 1000000" in line["reason"]

    def carol_is_out() -> bool:
        send(carol, GROUP, f"TRY{len(tries)}")
        tries.append(carol.recv())
        return bool(tries[-1][0] == "error")

    tries: list[list[Any]] = []
    poll_for("the new groups", carol_is_out)
    assert tries[-1][1]["code"] == 403
    send(carol, ALICE, "LARGE", 2000)  # the good half of the file is not taken either
    carol.expect(ack_1("LARGE", author=CAROL, to=ALICE))
    assert relay.log.events("settings.taken") == []
    alice.close()


def test_bad_groups_keep_no_good_settings_from_being_taken(start_relay: RelayStarter) -> None:
    relay = start_relay(config=DEBUG)
    alice = relay.login(ALICE)
    relay.groups_path.write_text("{")
    relay.log.expect("groups.refused")

    relay.take(DEBUG + "[limits]\nmessage_bytes = 1000\n")

    poll_for("the refusal", lambda: bool(relay.log.events("groups.refused")))
    send(alice, BOB, "LARGE", 2000)
    alice.expect_error(413, message_id="LARGE")
    alice.send_message(GROUP, "GROUP")
    alice.expect(ack_1("GROUP", author=ALICE, to=GROUP))


def test_groups_larger_than_a_lowered_limit_stay_through_the_restart_of_a_worker(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    relay.log.expect("groups.refused")
    alice = relay.login(ALICE)

    relay.take(DEBUG + "[limits]\ngroup_members = 2\n")

    poll_for("the refusal", lambda: bool(relay.log.events("groups.refused")))
    [worker] = relay.children("worker")
    worker.process.kill()
    poll_for("its end", lambda: not lives(worker.process))
    alice.send_message(GROUP, "GROUP")
    alice.expect(ack_1("GROUP", author=ALICE, to=GROUP))


def test_what_needs_a_restart_is_named_and_waits_for_it(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    before = pids(relay)

    relay.take(
        DEBUG
        + '[server]\nport = 9\nhost = "localhost"\n'
        + '[store]\ndurability = "os"\nmin_free_bytes = 1000\n',
    )

    [line] = relay.log.events("settings.not_applied")
    # The port is given by a flag, which beats the file.
    assert line["keys"] == ["server.host", "store.durability"]
    assert "restart" in line["reason"]
    assert pids(relay) == before
    [line] = relay.log.events("settings.reloaded")
    assert [change.partition(":")[0] for change in line["changed"]] == ["store.min_free_bytes"]
    relay.login(ALICE)  # where it listened before


@pytest.mark.parametrize(("hanging", "other"), [("worker", "front"), ("front", "worker")])
def test_a_shorter_heartbeat_finds_who_hangs_and_nobody_else(
    start_relay: RelayStarter, hanging: str, other: str
) -> None:
    slow = "[supervisor]\nheartbeat_s = 600\nhung_after_s = 3600\n"
    relay = start_relay(workers=1, config=DEBUG + slow)
    before = pids(relay)

    relay.take(DEBUG + "[supervisor]\nheartbeat_s = 0.1\nhung_after_s = 3.0\n")

    relay.log.expect(f"{hanging}.hung")
    [child] = relay.children(hanging)
    child.process.suspend()
    poll_for("its end", lambda: not lives(child.process))
    assert [line["pid"] for line in relay.log.events(f"{hanging}.hung")] == [child.process.pid]
    assert relay.log.events(f"{other}.hung") == []
    assert set(before) - set(pids(relay)) == {child.process.pid}


def test_a_shorter_stop_deadline_holds_for_the_stop(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)
    relay.take(DEBUG + "[supervisor]\nstop_deadline_s = 0.5\n")
    for child in relay.children():
        child.process.suspend()

    relay.process.send_signal(signal.SIGTERM)

    assert relay.process.wait(DEADLINE_S) == 0  # 30 s would be too long
    exits = [*relay.log.events("front.exited"), *relay.log.events("worker.exited")]
    assert [line["signal"] for line in exits] == ["SIGKILL", "SIGKILL"]


def test_another_level_of_the_log_is_taken_by_every_process(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1)

    line = relay.take(DEBUG)

    # What the processes say at that level is what a reload waits for.
    assert line["changed"] == ["log.level: info -> debug"]
    assert {line["process"] for line in relay.log.events("settings.taken")} == {
        "front-0",
        "worker-0",
    }
    relay.take(DEBUG + "[acks]\nrelay_unknown_acks = false\n")
    reload(relay, "", "settings.reloaded")
    poll_for(
        "the last change",
        lambda: (
            relay.log.events("settings.reloaded")[-1]["changed"]
            == ["acks.relay_unknown_acks: false -> true", "log.level: debug -> info"]
        ),
    )


def test_a_file_without_a_change_changes_nothing(start_relay: RelayStarter) -> None:
    relay = start_relay(workers=1, config=DEBUG)

    line = reload(relay, DEBUG, "settings.reloaded")

    assert line["changed"] == []
    exchange_marker(relay.login(ALICE), relay.login(BOB))
    assert relay.log.events("settings.taken") == []
