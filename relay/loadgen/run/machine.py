"""What a run was measured on, for its banner and its record."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from relay.loadgen.report.record import Machine
from relay.loadgen.run.processes import memory_of_machine

_LIBRARIES: Final = ("websockets", "uvloop", "msgspec", "pyzmq", "lmdb")
_GIT_WITHIN_S: Final = 5.0


def this_machine() -> Machine:
    """Return what can be told of this one."""
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_bytes=memory_of_machine(),
        kernel=platform.release(),
        python=platform.python_version(),
        relay=_version("relay"),
        commit=_commit(),
        libraries={name: _version(name) for name in _LIBRARIES},
    )


def _cpu_model() -> str:
    try:
        for text in Path("/proc/cpuinfo").read_text().splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _commit() -> str:
    here = Path(__file__).parent
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],  # noqa: S607
            cwd=here,
            capture_output=True,
            text=True,
            timeout=_GIT_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""
