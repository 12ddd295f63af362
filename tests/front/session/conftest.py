"""Sessions as the cases find them."""

from __future__ import annotations

import pytest

from tests.front.session.harness import Client, logged_in


@pytest.fixture
def client() -> Client:
    """A client that has just connected."""
    return Client()


@pytest.fixture
def alice() -> Client:
    """A client whose queue was empty and that is live."""
    return logged_in()
