"""How many processes run the tests, and where they keep compiled Python."""

import os
import sys
from pathlib import Path

# Who asks Python to write no bytecode wants a clean tree. But a relay under test is four processes,
# and there are a hundred such relays: each would compile the project anew. So it is kept elsewhere.
if sys.dont_write_bytecode and sys.pycache_prefix is None:
    bytecode = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "bytecode")
    sys.dont_write_bytecode, sys.pycache_prefix = False, bytecode
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = bytecode


def pytest_xdist_auto_num_workers() -> int:
    """Return what `-n auto` means here: two more than cores, since many a test waits."""
    return (os.cpu_count() or 1) + 2
