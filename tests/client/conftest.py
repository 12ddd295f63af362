"""What the tests of the client share."""

import pytest

from tests.client.protocol_harness import Harness


@pytest.fixture
def client() -> Harness:
    """A client that is logged in and has nothing to do."""
    harness = Harness()
    harness.log_in()
    harness.take()
    return harness
