"""Runs the load generator of a tree, and says what it said where it cannot do what it is asked."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ALL_HELD: Final = 0
_FAULTS_FOUND: Final = 1  # or nothing answered, and then there is no record
_LINES: Final = 12


class RunFailed(Exception):
    """A load generator that ended with neither "all good" nor "faults found"."""


def generate(arguments: Sequence[str], *, python: Path, directory: Path, within_s: float) -> None:
    """Run `python -m relay.loadgen` with these arguments and the code in `directory`.

    What a relay did wrong is in the record that it writes, for the one who judges.

    Raises:
        RunFailed: it did not end in time, or could not do it.
    """
    try:
        done = subprocess.run(
            [str(python), "-m", "relay.loadgen", *arguments],
            cwd=directory,
            env=environment(directory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=within_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"the load did not end within {within_s:g} s") from error
    written = next((b for a, b in itertools.pairwise(arguments) if a == "--json"), "")
    has_written = not written or Path(written).is_file()
    if done.returncode not in (_ALL_HELD, _FAULTS_FOUND) or not has_written:
        said = "\n".join(done.stdout.strip().splitlines()[-_LINES:])
        raise RunFailed(f"the load ended with exit code {done.returncode}:\n{said}")


def environment(directory: Path) -> dict[str, str]:
    """Return the environment in which Python finds a tree's packages before all others."""
    return {**os.environ, "PYTHONPATH": str(directory)}
