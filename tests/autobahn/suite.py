"""Runs all cases against a relay of its own, a chapter at a time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay

from .verdicts import Expected, Verdict

# The largest case is of 16 MiB, and comes back as a whole.
CONFIG: Final = """\
[limits]
frame_bytes = 16777216
[flow]
link_bytes = 67108864
session_max_bytes = 67108864
"""
# Most cases wait a second or two for something; so some of them at a time.
_CONCURRENCY: Final = 4
# A case cuts a peer that takes over a second, as one may that other processes keep from its core.
_ATTEMPTS: Final = 3
_CHAPTER_S: Final = 120.0


class SuiteError(Exception):
    """The cases could not be run."""


def run_suite(expected: Expected, say: Callable[[str], None]) -> list[Verdict]:
    """Return what each case of the expected chapters says; `say` is told what is done.

    Cases that are not as expected have run again, alone, and it is their last word that counts.

    Raises:
        SuiteError: the client of the cases has failed.
    """
    verdicts: list[Verdict] = []
    relay = Relay(
        workers=1, fronts=1, config=CONFIG, supervisor=("-m", "tests.autobahn.supervisor")
    )
    with relay:
        for chapter, count in expected.chapters.items():
            say(f"chapter {chapter}: {count} cases ...")
            found = _run(relay.url, [f"{chapter}.*"], concurrency=_CONCURRENCY)
            for _ in range(_ATTEMPTS - 1):
                again = [verdict.case for verdict in found if expected.differs(verdict)]
                if not again:
                    break
                say(f"once more, alone: {', '.join(again)} ...")
                later = {each.case: each for each in _run(relay.url, again, concurrency=1)}
                found = [later.get(verdict.case, verdict) for verdict in found]
            verdicts += found
    return verdicts


def _run(url: str, cases: Iterable[str], *, concurrency: int) -> list[Verdict]:
    command = [sys.executable, "-m", "tests.autobahn.client", url, str(concurrency), *cases]
    try:
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, timeout=_CHAPTER_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SuiteError(f"no end of {' '.join(cases)} in {_CHAPTER_S:g} s") from None
    if done.returncode:
        raise SuiteError(f"exit {done.returncode}: {done.stderr.decode(errors='replace')}")
    return [msgspec.json.decode(line, type=Verdict) for line in done.stdout.splitlines()]
