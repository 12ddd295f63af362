"""What the dearest frames cost a front, by the byte, held against plain text.

    python -m tests.bench.bench_frames

Processor time on one core, the least of several runs. Exits with 1 where a byte of a frame costs
over five times a byte of an `action` full of the sheet's own message (2.3): then a client can make
a front work harder than it works itself.
"""

from __future__ import annotations

import gc
import sys
import time

from relay.errors import FrameError
from relay.extensions.registry import load
from relay.protocol.codec import Codec
from relay.settings.tables import Settings
from tests.bench.dearest import DEAREST, PLAIN

MAX_FACTOR = 5.0
# Of short frames many are decoded in a run, so that a run takes a millisecond or more.
_LEAST_BYTES = 40_000


def ns_a_byte(codec: Codec, frame: bytes, *, runs: int = 7) -> float:
    """Return what decoding a byte of `frame` takes, in processor time."""
    times = 1 + _LEAST_BYTES // len(frame)
    best = float("inf")
    gc.collect()
    gc.disable()
    try:
        for _ in range(runs):
            begin = time.process_time_ns()
            for _ in range(times):
                try:
                    codec.decode(frame, user="917069852821", now_s=1_566_970_700)
                except FrameError:
                    pass
            best = min(best, (time.process_time_ns() - begin) / times / len(frame))
    finally:
        gc.enable()
    return best


def main() -> int:
    """Print a line for each kind, the dearest first; return the exit code."""
    codec = Codec(Settings().limits, load().rows)
    plain = ns_a_byte(codec, PLAIN)
    measured = sorted(
        ((ns_a_byte(codec, frame), name) for name, frame in DEAREST.items()), reverse=True
    )
    sys.stdout.write(f"{'plain text: an action of 256 messages':<56} {plain:7.1f} ns a byte\n")
    for ns, name in measured:
        sys.stdout.write(f"{name:<56} {ns:7.1f} ns a byte  {ns / plain:5.1f}\n")
    if measured[0][0] <= MAX_FACTOR * plain:
        return 0
    sys.stdout.write(f"over {MAX_FACTOR:g} times plain text\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
