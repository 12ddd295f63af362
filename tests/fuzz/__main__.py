"""`python -m tests.fuzz [TARGET...]`: fuzz for a while; exit 1 if something was found.

Each target has a process, one after the other. What is found lies in build/fuzz, and so does what
the inputs have grown to, which the next run goes on with.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from . import corpus
from .targets import TARGETS

REPOSITORY: Final = Path(__file__).resolve().parents[2]
WORK: Final = REPOSITORY / "build" / "fuzz"

# An input on which the time is not linear is told by the target; this is for one without end.
_TIMEOUT_S: Final = 20
_MEMORY_MIB: Final = 1024
_ALLOCATION_MIB: Final = 128
_MAX_INPUT_BYTES: Final = {"storefile": 16384, "items": 8192}
_MAX_INPUT_BYTES_OF_OTHERS: Final = 4096
_NICENESS: Final = 19
_PROGRESS_S: Final = 5.0
# As many inputs of a target are kept for every run of the tests, the shortest.
_MOST_KEPT: Final = 200

_STATUS: Final = re.compile(rb"^#(\d+)\s+\S+\s+cov: (\d+) .*corp: (\d+)")


class Outcome(NamedTuple):
    """What a run of a target came to."""

    target: str
    executions: int
    reached: int  # branches of the code, as atheris counts them
    inputs: int
    found: list[Path]
    has_failed: bool


def main(argv: list[str]) -> int:
    """Fuzz the targets that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=120, help="for each target (%(default)s)")
    parser.add_argument(
        "--keep", action="store_true", help="put what the inputs have grown to into the tree"
    )
    given = parser.parse_args(argv)
    unknown = set(given.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    found = False
    for target in given.targets or TARGETS:
        # libFuzzer ends a process in its own way, in which nothing is cleaned up.
        with tempfile.TemporaryDirectory(prefix="relay-fuzz-", dir=_memory()) as directory:
            outcome = _fuzz(target, given.seconds, directory)
        sys.stdout.write(
            f"{outcome.target:10} {outcome.executions:10,} executions"
            f" {outcome.reached:6,} branches {outcome.inputs:5,} inputs"
            f"  {', '.join(map(str, outcome.found)) or ('failed' * outcome.has_failed) or 'ok'}\n"
        )
        sys.stdout.flush()
        found = found or outcome.has_failed
        if given.keep and not outcome.has_failed:
            _keep(target)
    return 1 if found else 0


def _memory() -> str | None:
    """Return where files are in memory, if that is anywhere: targets write one for each input."""
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _fuzz(target: str, seconds: int, directory: str) -> Outcome:
    from .seeds import SEEDS  # imports the targets, which an unknown option need not wait for

    grown, begin = WORK / target / "inputs", WORK / target / "begin"
    grown.mkdir(parents=True, exist_ok=True)
    _write_inputs(begin, [*SEEDS[target](), *corpus.kept(target)])
    found_before = set((WORK / target).glob("found-*"))
    process = subprocess.Popen(
        _command(target, grown, begin, seconds),
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": directory},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.nice(_NICENESS),
    )
    assert process.stderr is not None
    executions = reached = inputs = 0
    said_s, log = 0.0, []
    for line in process.stderr:
        status = _STATUS.match(line)
        if status is None:
            log.append(line)
            continue
        executions, reached, inputs = map(int, status.groups())
        if time.monotonic() - said_s > _PROGRESS_S:
            said_s = time.monotonic()
            sys.stderr.write(f"{target}: {executions:,} executions, {reached:,} branches ...\n")
    code = process.wait()
    found = sorted(set((WORK / target).glob("found-*")) - found_before)
    if code:
        sys.stderr.buffer.write(b"".join(log[-60:]))
    return Outcome(target, executions, reached, inputs, found, code != 0)


def _command(target: str, grown: Path, begin: Path, seconds: int) -> list[str]:
    longest = _MAX_INPUT_BYTES.get(target, _MAX_INPUT_BYTES_OF_OTHERS)
    return [
        *(sys.executable, "-m", "tests.fuzz.machine", target, str(grown), str(begin)),
        "-keep_seed=1",  # also where nothing can be seen to be reached: msgspec is in C
        f"-timeout={_TIMEOUT_S}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-malloc_limit_mb={_ALLOCATION_MIB}",
        f"-max_len={longest}",
        f"-artifact_prefix={WORK / target}/found-",
        f"-max_total_time={seconds}",
    ]


def _write_inputs(directory: Path, inputs: Sequence[bytes]) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for number, each in enumerate(inputs):
        (directory / f"{number:04}").write_bytes(each)


def _keep(target: str) -> None:
    """Put what the inputs have grown to into the tree, beside those there."""
    grown = [path.read_bytes() for path in (WORK / target / "inputs").iterdir()]
    corpus.keep(target, sorted([*corpus.kept(target), *grown], key=len)[:_MOST_KEPT])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
