"""Where targets have their files: in memory, one directory a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

_SHARED_MEMORY = Path("/dev/shm")


def make_directory() -> Path:
    """Return a new directory that goes with this process."""
    below = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="relay-fuzz-", dir=below))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
