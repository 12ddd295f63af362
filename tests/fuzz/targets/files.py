"""Where targets have their files: one directory a process."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path


def make_directory() -> Path:
    """Return a new directory that goes with this process, unless libFuzzer ends it."""
    directory = Path(tempfile.mkdtemp(prefix="relay-fuzz-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
