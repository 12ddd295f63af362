"""How many processes run the tests, and that they keep compiled Python."""

import os
import sys

# Who asks Python to write no bytecode wants a clean tree, and git ignores where it goes. A relay
# under test is four processes, and there are a hundred such relays: each would compile the project.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` means here: two more than cores, since many a test waits."""
    return (os.cpu_count() or 1) + 2
