"""Runs over TLS: every scenario, and why a run comes to nothing."""

import asyncio
import ssl
from pathlib import Path

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from relay.loadgen.report.record import Interval, Outcome
from relay.loadgen.run.conductor import Run, conduct
from relay.loadgen.run.servers import RunFailed
from relay.loadgen.traffic.plan import Chat, Group, Idle, Offline, Phase, Plan, Scenario, Storm
from relay.trust import Trust
from tests.loadgen.fakes import fake_relay, play
from tests.outside.certificates import Authority
from tests.outside.tlsends import ca_file, serving

pytestmark = pytest.mark.ordeal

PAIR = Chat(pairs=1, window=1)


class Nobody:
    """A watcher who looks away."""

    def phase_begins(self, phase: Phase) -> None:
        pass

    def interval_ends(self, interval: Interval, unfinished: int) -> None:
        pass


@pytest.fixture
def authority() -> Authority:
    return Authority()


def trusting(authority: Authority, directory: Path, *, shows: bool = False) -> Trust:
    trusted = str(ca_file(authority, directory))
    if not shows:
        return Trust(ca_file=trusted)
    certificate, key = authority.issue("client").write(directory, "client")
    return Trust(ca_file=trusted, certificate_file=str(certificate), key_file=str(key))


def conducted(tls: ssl.SSLContext, trust: Trust, *, token_key: bytes = b"") -> Outcome:
    plan = Plan(scenario=PAIR, warm_up_s=0.05, measure_s=0.2, patience_s=1)

    async def body() -> Outcome:
        async with fake_relay(plan, tls=tls) as url:
            run = Run(plan=plan, server="relay", url=url, trust=trust, token_key=token_key)
            return await conduct(run, None, Nobody())

    return asyncio.run(body())


@pytest.mark.parametrize(
    "scenario",
    [
        Chat(pairs=3, window=4),
        Chat(pairs=3, rate=300, arrivals="poisson"),
        Group(groups=2, members=5, senders=2, window=2),
        Offline(users=3, messages=100),
        Storm(logins=20, rate=200),
        Idle(sockets=10),
    ],
    ids=lambda scenario: type(scenario).__name__,
)
def test_every_scenario_goes_over_tls(
    scenario: Scenario, authority: Authority, tmp_path: Path
) -> None:
    plan = Plan(scenario=scenario, warm_up_s=0.05, measure_s=0.2)

    async def body() -> None:
        async with fake_relay(plan, tls=serving(authority, tmp_path)) as url:
            outcome = await play(plan, url, trust=trusting(authority, tmp_path))
        assert outcome.faults.kinds == {}
        assert outcome.counts.completed == outcome.counts.sent
        assert outcome.counts.logins > 0

    asyncio.run(body())


def test_the_record_says_in_which_way_clients_came(authority: Authority, tmp_path: Path) -> None:
    served = serving(authority, tmp_path, wants_clients=True)

    outcome = conducted(served, trusting(authority, tmp_path, shows=True), token_key=b"s" * 32)

    assert outcome.faults.kinds == {}
    wss, version, *others = outcome.way.split(", ")
    assert (wss, version[:7]) == ("wss", "TLSv1.3")
    assert others == ["client certificates", "HS256 tokens"]


def test_a_certificate_that_is_not_trusted_ends_the_run_before_it_begins(
    authority: Authority, tmp_path: Path
) -> None:
    other = trusting(Authority("another CA"), tmp_path)

    with pytest.raises(
        RunFailed, match=r"no relay at wss://.*: its certificate comes from an auth"
    ):
        conducted(serving(authority, tmp_path), other)


def test_a_relay_that_wants_certificates_is_told(authority: Authority, tmp_path: Path) -> None:
    served = serving(authority, tmp_path, wants_clients=True)

    with pytest.raises(RunFailed, match=r"only 0 of 2 users .*wants another client certificate"):
        conducted(served, trusting(authority, tmp_path))
