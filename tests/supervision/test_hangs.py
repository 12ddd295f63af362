"""Who hangs: who has been silent for too long, while we were there to hear."""

import pytest

from relay.supervision.hangs import BOOT_DEADLINE_S, Watch
from relay.supervision.seats import Incarnation, Role

HUNG_AFTER_S = 15.0
HEARTBEAT_S = 1.0


@pytest.fixture
def watch() -> Watch:
    return Watch(now_s=0.0)


def child(*, heard_s: float = 0.0, ready: bool = True, role: Role = "worker") -> Incarnation:
    return Incarnation(
        role=role,
        index=0,
        number=1,
        started_s=0.0,
        heard_s=heard_s,
        endpoint="" if ready else None,
    )


def look(watch: Watch, *children: Incarnation, until_s: float) -> list[Incarnation]:
    """Look each second until `until_s`; return who was found at the last look."""
    found: list[Incarnation] = []
    for second in range(int(until_s) + 1):
        found = look_at(watch, *children, now_s=float(second))
    return found


def look_at(
    watch: Watch, *children: Incarnation, now_s: float, heartbeat_s: float = HEARTBEAT_S
) -> list[Incarnation]:
    return watch.look(children, hung_after_s=HUNG_AFTER_S, heartbeat_s=heartbeat_s, now_s=now_s)


def test_silence_up_to_the_limit_is_allowed(watch: Watch) -> None:
    assert look(watch, child(), until_s=15) == []


def test_who_is_silent_for_longer_is_found(watch: Watch) -> None:
    silent, heard = child(), child(heard_s=5)

    assert look(watch, silent, heard, until_s=16) == [silent]
    assert silent.hung
    assert not heard.hung


def test_one_that_hangs_is_found_once(watch: Watch) -> None:
    assert look(watch, child(), until_s=17) == []


def test_one_that_boots_has_longer(watch: Watch) -> None:
    booting = child(ready=False)

    assert look(watch, booting, until_s=BOOT_DEADLINE_S) == []
    assert look_at(watch, booting, now_s=BOOT_DEADLINE_S + 1) == [booting]


@pytest.mark.parametrize("pause_s", [HUNG_AFTER_S / 2 + 0.1, 1e6])
def test_after_a_pause_of_our_own_all_have_their_time_anew(watch: Watch, pause_s: float) -> None:
    silent = child()
    look(watch, silent, until_s=14)

    assert look_at(watch, silent, now_s=14 + pause_s) == []
    assert silent.heard_s == 14 + pause_s


def test_an_agent_that_hangs_is_found_sooner_than_others(watch: Watch) -> None:
    agent, worker = child(role="agent"), child()

    assert look(watch, agent, worker, until_s=5) == []
    assert look_at(watch, agent, worker, now_s=6.0) == [agent]


def test_an_agent_has_some_heartbeats_however_rare_they_are(watch: Watch) -> None:
    agent = child(role="agent")
    for now_s in (3.0, 6.0, 9.0, 12.0):
        assert look_at(watch, agent, now_s=now_s, heartbeat_s=3.0) == []

    assert look_at(watch, agent, now_s=15.0, heartbeat_s=3.0) == [agent]


def test_a_pause_of_our_own_is_held_against_no_agent(watch: Watch) -> None:
    agent = child(role="agent")
    look(watch, agent, until_s=3)

    assert look_at(watch, agent, now_s=6.0) == []
