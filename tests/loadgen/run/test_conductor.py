"""What the conductor does when a run is cut short, when nobody gets in, or its own side breaks."""

import asyncio
from collections.abc import Callable

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.report.record import Interval, Outcome
from relay.loadgen.run.conductor import Interrupts, Run, conduct
from relay.loadgen.run.reference import ReferenceConnection
from relay.loadgen.run.servers import RunFailed
from relay.loadgen.traffic.plan import (
    DRAIN,
    FILL,
    HOLD,
    LOGIN,
    MEASURE,
    SETTLE,
    STORM,
    WARM_UP,
    Chat,
    Idle,
    Offline,
    Phase,
    Plan,
    Scenario,
    Storm,
)
from tests.loadgen.fakes import fake_relay

pytestmark = pytest.mark.slow

LONG_S = 50.0  # no test waits for it
SOON_S = 0.25


class Broken:
    """A watcher with a bug."""

    def phase_begins(self, phase: Phase) -> None:
        pass

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        raise ZeroDivisionError("a bug")


class Operator:
    """A watcher who interrupts in some phases, a little after they have begun."""

    def __init__(self, *phases: str, before: Callable[[], None] = lambda: None) -> None:
        self.interrupts = Interrupts()
        self._phases = phases
        self._before = before

    def phase_begins(self, phase: Phase) -> None:
        if phase.name in self._phases:
            asyncio.get_running_loop().call_later(SOON_S, self._interrupt)

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        pass

    def _interrupt(self) -> None:
        self._before()
        self.interrupts.add()


def conducted(
    scenario: Scenario,
    operator: Operator,
    *,
    connection: type[ReferenceConnection] = ReferenceConnection,
    warm_up_s: float = 0.05,
    patience_s: float = LONG_S,
) -> Outcome:
    plan = Plan(
        scenario=scenario, warm_up_s=warm_up_s, measure_s=LONG_S, patience_s=patience_s, procs=2
    )

    async def body() -> Outcome:
        async with fake_relay(plan, connection=connection) as url:
            run = Run(plan=plan, server="relay", url=url)
            return await conduct(run, None, operator, operator.interrupts)

    return asyncio.run(body())


def phases(outcome: Outcome) -> list[str]:
    return [phase.name for phase in outcome.phases]


def test_a_bug_while_a_report_is_read_ends_the_run_with_that_error() -> None:
    plan = Plan(scenario=Chat(pairs=1), warm_up_s=0.05, measure_s=0.2)

    async def body() -> None:
        async with fake_relay(plan) as url:
            await conduct(Run(plan=plan, server="relay", url=url), None, Broken())

    with pytest.raises(ZeroDivisionError, match="a bug"):
        asyncio.run(body())


# -- interrupts -----------------------------------------------------------------------------------


def test_an_interrupt_ends_the_traffic_and_what_is_under_way_arrives() -> None:
    outcome = conducted(Chat(pairs=4), Operator(MEASURE))

    assert outcome.interrupted == MEASURE
    assert phases(outcome) == [LOGIN, WARM_UP, MEASURE, SETTLE]
    assert not outcome.faults
    measured = outcome.phases[2]
    assert SOON_S * 0.9 <= measured.seconds < LONG_S / 2
    assert measured.counts.completed > 0
    assert outcome.latencies["send → ack 1"].count > 0
    sent = sum(phase.counts.sent for phase in outcome.phases)
    assert sum(phase.counts.completed for phase in outcome.phases) == sent
    assert outcome.unjudged == 0


def test_an_interrupt_in_the_warm_up_leaves_nothing_measured() -> None:
    outcome = conducted(Chat(pairs=4), Operator(WARM_UP), warm_up_s=LONG_S)

    assert outcome.interrupted == WARM_UP
    assert phases(outcome) == [LOGIN, WARM_UP, SETTLE]
    assert outcome.latencies == {}
    assert not outcome.faults


def test_an_interrupt_in_the_cool_down_leaves_what_is_under_way_unjudged() -> None:
    stopped = asyncio.Event()

    class Stopping(ReferenceConnection):
        def frame(self, frame: bytes) -> None:
            if not stopped.is_set():
                super().frame(frame)

    operator = Operator(MEASURE, SETTLE, before=stopped.set)
    outcome = conducted(Chat(pairs=4, window=3), operator, connection=Stopping)

    assert operator.interrupts.count == 2
    assert outcome.interrupted == MEASURE
    assert outcome.unjudged == 12
    assert not outcome.faults


def test_messages_that_wait_for_users_who_never_came_are_not_lost() -> None:
    outcome = conducted(Offline(users=4, messages=10_000_000), Operator(FILL))

    assert outcome.interrupted == FILL
    assert phases(outcome) == [LOGIN, FILL]
    assert outcome.unjudged == outcome.phases[1].counts.sent > 0
    assert not outcome.faults


def test_an_interrupt_while_mailboxes_are_drained_is_no_loss() -> None:
    class Slow(ReferenceConnection):
        """Never tells what waits."""

        def _auth(self, user: str) -> None:
            if not user.endswith(("1", "3")):  # who is written to
                super()._auth(user)

    outcome = conducted(Offline(users=2, messages=20), Operator(DRAIN), connection=Slow)

    assert outcome.interrupted == DRAIN
    assert outcome.unjudged == 20
    assert not outcome.faults


@pytest.mark.parametrize(
    ("scenario", "phase"), [(Storm(logins=1000, rate=40, pairs=0), STORM), (Idle(sockets=4), HOLD)]
)
def test_logins_and_held_sockets_can_be_interrupted(scenario: Scenario, phase: str) -> None:
    outcome = conducted(scenario, Operator(phase))

    assert outcome.interrupted == phase
    assert phases(outcome)[-1] == phase
    assert sum(each.counts.logins for each in outcome.phases) > 0
    assert not outcome.faults


def test_an_interrupted_storm_lets_nobody_else_begin_and_what_its_pairs_wrote_arrives() -> None:
    outcome = conducted(Storm(logins=1000, rate=40), Operator(STORM))

    assert outcome.interrupted == STORM
    assert phases(outcome) == [LOGIN, STORM, SETTLE]
    storm, after = outcome.phases[1:]
    assert 0 < storm.counts.logins < 1000
    assert after.counts.logins < 40  # those that were under way
    assert storm.counts.sent > 0
    assert not outcome.faults


def test_a_storm_that_stands_still_is_given_up_though_its_pairs_go_on() -> None:
    class ForFew(ReferenceConnection):
        served = 0

        def frame(self, frame: bytes) -> None:
            if frame.startswith(b'["auth"'):
                ForFew.served += 1
            if ForFew.served <= 3 or not frame.startswith(b'["auth"'):
                super().frame(frame)

    with pytest.raises(RunFailed, match=r"only \d of 22 users could log in"):
        conducted(Storm(logins=20), Operator(), connection=ForFew, patience_s=1)


def test_an_interrupt_before_everyone_is_in_begins_nothing_more() -> None:
    class Deaf(ReferenceConnection):
        def frame(self, frame: bytes) -> None:
            pass

    outcome = conducted(Chat(pairs=2), Operator(LOGIN), connection=Deaf)

    assert outcome.interrupted == LOGIN
    assert phases(outcome) == [LOGIN]
    assert outcome.pss_logged_in == {}


def test_an_interrupt_before_the_first_phase_enters_none() -> None:
    operator = Operator()
    operator.interrupts.add()

    outcome = conducted(Chat(pairs=2), operator)

    assert outcome.interrupted == "start-up"
    assert outcome.phases == []


# -- logins that fail -----------------------------------------------------------------------------


def failure(connection: type[ReferenceConnection]) -> str:
    with pytest.raises(RunFailed) as failed:
        conducted(Chat(pairs=2), Operator(), connection=connection, patience_s=1.5)
    return str(failed.value)


def test_a_login_that_is_refused_is_told_by_the_frame_that_came() -> None:
    class Refusing(ReferenceConnection):
        def _auth(self, user: str) -> None:
            payload = b'["auth", {"from": "backend", "status": "failure", "code": 403}]'
            self.write(bytes((0x81, len(payload))) + payload)

    told = failure(Refusing)

    assert told.startswith("only 0 of 4 users could log in at ws://127.0.0.1:")
    assert "first of all, 9001000000" in told
    assert told.endswith('got ["auth", {"from": "backend", "status": "failure", "code": 403}]')


def test_a_close_instead_of_a_login_is_told_with_code_and_reason() -> None:
    class Closing(ReferenceConnection):
        def _auth(self, user: str) -> None:
            payload = (4401).to_bytes(2) + b"who\nare you?"
            self.write(bytes((0x88, len(payload))) + payload)

    assert failure(Closing).endswith(r"was closed with 4401 who\nare you?")


def test_what_comes_instead_of_a_login_is_one_line_of_bounded_length() -> None:
    class Babbling(ReferenceConnection):
        def _auth(self, user: str) -> None:
            payload = b'["nonsense", "' + b"\\x1b[31m\r\n\x1b\xff" * 2000 + b'"]'
            self.write(b"\x81\x7e" + len(payload).to_bytes(2) + payload)

    told = failure(Babbling)

    assert told.isprintable()
    assert len(told) < 320
    assert 'got ["nonsense", "' in told


def test_the_first_of_what_came_is_told_and_not_the_last() -> None:
    class Two(ReferenceConnection):
        def _auth(self, user: str) -> None:
            for payload in (b'["error", {"code": 503, "reason": "first"}]', b'["Cmd", {"n": 2}]'):
                self.write(bytes((0x81, len(payload))) + payload)

    assert failure(Two).endswith('got ["error", {"code": 503, "reason": "first"}]')


def test_a_server_that_says_nothing_is_told_as_that() -> None:
    class Deaf(ReferenceConnection):
        def frame(self, frame: bytes) -> None:
            pass

    assert failure(Deaf).endswith(": no answer in 1.5 s")
