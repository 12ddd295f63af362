"""What every integration test gets: relays of its own, cleaned up, and their log in the report."""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

assert __package__ is not None
pytest.register_assert_rewrite(f"{__package__}.harness")

from .harness import ALICE, BOB, CAROL, GROUP, Relay  # noqa: E402

RelayStarter = Callable[..., Relay]

_RELAYS = pytest.StashKey[list[Relay]]()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the log of the relays of a test that failed."""
    report = yield
    if report.failed:
        for relay in item.stash.get(_RELAYS, []):
            report.sections.append(("relay log", relay.log_text()))
    return report
