"""How many processes run the tests, that they keep compiled Python, and what hypothesis times."""

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.outside")

# Who asks Python to write no bytecode wants a clean tree, and git ignores where it goes. A relay
# under test is four processes, and there are a hundred such relays: each would compile the project.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example may take is a guess at a machine, and at what else runs on it.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")


def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` means here: two more than cores, since many a test waits."""
    return (os.cpu_count() or 1) + 2
