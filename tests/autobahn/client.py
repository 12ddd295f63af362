"""`python -m tests.autobahn.client URL CONCURRENCY CASE...`: run cases, a JSON line for each.

A process of its own: kosoku, once imported, puts modules named `autobahn` and `pkg_resources`
before those that are installed, and replaces `binascii.b2a_hex`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import kosoku
import msgspec

from .verdicts import Verdict


def main(url: str, concurrency: str, cases: list[str]) -> None:
    """Write a verdict for each case that the patterns in `cases` match, in order."""

    async def results() -> list[Verdict]:
        try:
            done = await kosoku.run_fuzzingclient(url, cases, concurrency=int(concurrency))
        except kosoku.FailureError as failure:
            done = failure.results
        return [
            Verdict(each.case_id, each.behavior.value, each.behavior_close.value, _why(each))
            for each in done
        ]

    for verdict in asyncio.run(results()):
        sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")


def _why(result: Any) -> str:
    return f"{result.result} {result.result_close} Its close code: {result.remote_close_code}."


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
    # Threads of kosoku are still there, and one in fifteen interpreters that end under them aborts.
    sys.stdout.flush()
    os._exit(0)
