"""What every integration test gets: relays, cleaned up afterwards, and their log in the report.

A test that kills, stops, reloads or configures its relay, or looks at its memory or its data, has
one of its own (`relay`, `start_relay`). The others have people of their own on a relay that they
share: one with the default settings for all tests of a process, others for a module
(`shared_relay`, `share_relay`, `cast`).
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import Any

import pytest

from tests.outside.frames import ALICE, BOB, CAROL, GROUP
from tests.outside.people import Cast, casts
from tests.outside.relay import Relay

RelayStarter = Callable[..., Relay]
RelaySharer = Callable[..., Relay]

# On a test: the relays that it used. On a module and the session: those that their tests share.
_RELAYS = pytest.StashKey[list[Relay]]()
_HAS_FAILED = pytest.StashKey[bool]()


@pytest.fixture
def start_relay(request: pytest.FixtureRequest) -> Iterator[RelayStarter]:
    """A function that starts a relay: takes what `Relay` takes; by default the sheet's group.

    After the test each relay must stop in order and have a clean log.
    """
    relays: list[Relay] = request.node.stash.setdefault(_RELAYS, [])
    with ExitStack() as stack:

        def start(**arguments: Any) -> Relay:
            relay = Relay(**{"groups": {GROUP: [ALICE, BOB, CAROL]}, **arguments})
            relays.append(relay)
            return stack.enter_context(relay)

        yield start


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    """Two workers, one front, the default settings, and the group of the sheet."""
    return start_relay()


class SharedRelays:
    """Relays that tests in this process share, by their config.

    Each knows the groups of all `crew`; `started` collects those that were ever there.
    """

    def __init__(self, crew: list[Cast], started: list[Relay]) -> None:
        self._groups = {cast.group: [cast.alice, cast.bob, cast.carol] for cast in crew}
        self._started = started
        self._by_config: dict[str, Relay] = {}

    def get(self, config: str) -> Relay:
        """Return the relay with this config; the first call starts it."""
        if config not in self._by_config:
            relay = Relay(config=config, groups=self._groups)
            self._started.append(relay)
            self._by_config[config] = relay.__enter__()
        return self._by_config[config]

    def assert_clean_logs(self) -> None:
        """None of them may have anything in its log that should not be there."""
        for relay in self._by_config.values():
            relay.log.assert_clean()

    def discard(self, config: str) -> None:
        """End this relay, in whatever state a failed test has left it; `get` starts another."""
        self._by_config.pop(config).clean_up()

    def close(self) -> None:
        """Stop all relays; each must stop in order and have a clean log."""
        with ExitStack() as stack:
            for relay in self._by_config.values():
                stack.push(relay)


@pytest.fixture(scope="session")
def crew(request: pytest.FixtureRequest) -> list[Cast]:
    """A cast for each test that has one."""
    tests = sum("cast" in getattr(item, "fixturenames", ()) for item in request.session.items)
    return list(islice(casts(), tests))


@pytest.fixture(scope="session")
def crew_in_turn(crew: list[Cast]) -> Iterator[Cast]:
    """The casts that no test has had yet."""
    return iter(crew)


@pytest.fixture(scope="session")
def default_relays(request: pytest.FixtureRequest, crew: list[Cast]) -> Iterator[SharedRelays]:
    """The relay with the default settings."""
    yield from _shared(crew, request.session)


@pytest.fixture(scope="module")
def configured_relays(
    request: pytest.FixtureRequest, crew: list[Cast], default_relays: SharedRelays
) -> Iterator[SharedRelays]:
    """Relays with other settings; each ends with its module."""
    yield from _shared(crew, request.node)
    # Here, where it is still known which module's tests were the last to use it.
    default_relays.assert_clean_logs()


def _shared(crew: list[Cast], tests: pytest.Collector) -> Iterator[SharedRelays]:
    """Yield the relays that `tests` share."""
    relays = SharedRelays(crew, tests.stash.setdefault(_RELAYS, []))
    yield relays
    relays.close()


@pytest.fixture
def share_relay(
    request: pytest.FixtureRequest, default_relays: SharedRelays, configured_relays: SharedRelays
) -> Iterator[RelaySharer]:
    """A function that returns the relay with this `config`, which other tests use too.

    The clients of a test are cut at its end, and a relay on which a test failed is used no more.
    """
    used: dict[str, Relay] = {}
    relays: list[Relay] = request.node.stash.setdefault(_RELAYS, [])

    def relays_with(config: str) -> SharedRelays:
        return configured_relays if config else default_relays

    def share(config: str = "") -> Relay:
        if config not in used:
            used[config] = relays_with(config).get(config)
            relays.append(used[config])
        return used[config]

    yield share
    for config, relay in used.items():
        relay.drop_clients()
        if request.node.stash.get(_HAS_FAILED, False):
            relays_with(config).discard(config)


@pytest.fixture
def shared_relay(share_relay: RelaySharer) -> Relay:
    """A relay as `relay` has it, but other tests use it too, so this one speaks for its `cast`."""
    return share_relay()


@pytest.fixture
def cast(crew_in_turn: Iterator[Cast]) -> Cast:
    """People of this test alone, and their group, which the shared relays know."""
    return next(crew_in_turn)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of the relays of a test that failed; if its teardown did, of all shared too."""
    report = yield
    if report.failed:
        item.stash[_HAS_FAILED] = True
        relays = item.stash.get(_RELAYS, [])
        module = item.getparent(pytest.Module)
        if report.when == "teardown" and module is not None:
            for tests in (module, item.session):
                shared = tests.stash.get(_RELAYS, [])
                relays = [*relays, *(relay for relay in shared if relay not in relays)]
        for relay in relays:
            report.sections.append(("relay log", relay.log.text()))
    return report
