"""How many processes run the tests, which of those are slow, and what hypothesis times."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from relay import compiled

# Which is tested, the source or the compiled parts, is asked for, and no matter of what lies here.
TESTS_COMPILED = os.environ.get("RELAY_TESTS") == "compiled"
if not TESTS_COMPILED:
    os.environ[compiled.PLAIN] = "1"
elif not compiled.use():
    raise RuntimeError("there are no compiled parts of this source: make compiled")

pytest.register_assert_rewrite("tests.outside")

# Who asks Python to write no bytecode wants a clean tree, and git ignores where it goes. A relay
# under test is four processes, and there are a hundred such relays: each would compile the project.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How long an example may take is a guess at a machine, and at what else runs on it.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return what `-n auto` means here: two more than cores, since many a test waits.

    `-n logical` is for those that do not wait: one a core, since each collects all the tests.
    """
    cores = os.cpu_count() or 1
    return cores if config.option.numprocesses == "logical" else cores + 2


# Each of their tests has a relay, or a share in one: half a second, and a second for the next. Or
# it makes data directories with whole stores, and looks at every byte of them.
OF_WHOLE_RELAYS = ("integration/", "trials/", "workers/tools/")


# An ordeal that says nothing else may take so long: processes die and come back, engines elect, and
# all of them wait for their share of a busy machine.
ORDEAL_S = 300


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by where it is; elsewhere a test or its module says so itself.

    Ordeals get more time.
    """
    here = Path(__file__).parent
    for item in items:
        is_ordeal = item.get_closest_marker("ordeal") is not None
        if TESTS_COMPILED and item.get_closest_marker("of_source") is not None:
            item.add_marker(pytest.mark.skip(reason="has a fake or a patch in the place of a part"))
        if is_ordeal and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(ORDEAL_S))
        if is_ordeal or item.path.relative_to(here).as_posix().startswith(OF_WHOLE_RELAYS):
            item.add_marker(pytest.mark.slow)
