"""A short-lived process that fetches keys, so that a name server, TLS or an answer hangs no other.

It is told what to do by a memo, and leaves in another one what has come of it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from relay.auth.fetch import FetchFailed, fetch
from relay.auth.keys import parse_key_set
from relay.disk.files import replace_file
from relay.errors import DiskError
from relay.process.memo import read_memo
from relay.process.run import begin
from relay.supervision.fetching import Kept, Order, Result

# It ends then, whatever it waits for.
WITHIN_S: Final = 10.0


def result_of(order: Order) -> Result:
    """Do what was ordered."""
    try:
        fetched = fetch(order.url)
        parse_key_set(fetched.content, order.algorithm)
    except FetchFailed as error:
        return Result(reason=str(error))
    except ValueError as error:
        return Result(reason=f"its answer {error}")
    keys, unkept = msgspec.Raw(fetched.content), ""
    try:
        replace_file(Path(order.cache), msgspec.json.encode(Kept(order.url, keys)))
    except DiskError as error:
        unkept = str(error)
    return Result(keys, fetched.max_age_s, unkept=unkept)


def main() -> int:
    """Fetch once; return the exit code."""
    parser = argparse.ArgumentParser(description="Started by supervisor.py, not by hand.")
    parser.add_argument("--order-fd", type=int, required=True)
    parser.add_argument("--result-fd", type=int, required=True)
    given = parser.parse_args()
    begin()
    signal.setitimer(signal.ITIMER_REAL, WITHIN_S)  # its default is death
    order = msgspec.json.decode(read_memo(given.order_fd), type=Order)
    rest = memoryview(msgspec.json.encode(result_of(order)))
    while rest:
        rest = rest[os.write(given.result_fd, rest) :]
    return 0


if __name__ == "__main__":
    sys.exit(main())
