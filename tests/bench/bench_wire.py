"""What it costs to frame a text: ours against the websockets library's.

    python -m tests.bench.bench_wire

Prints nanoseconds a frame, the best of several runs, and how many times longer the library takes.
`ServerProtocol` is what a connection would use otherwise: it keeps the state of the connection too.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable

from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from relay.front.wire import text_frame

SIZES = (100, 264, 4_096, 65_536)
FRAMES = 5_000
RUNS = 5


def ns_a_frame(make: Callable[[bytes], object], payload: bytes) -> float:
    """Return the least of some measurements, which the rest of the machine disturbed least."""
    runs = timeit.repeat(lambda: make(payload), number=FRAMES, repeat=RUNS)
    return min(runs) / FRAMES * 1e9


def main() -> None:
    """Print a line for each size of frame."""
    protocol = ServerProtocol()
    protocol.state = State.OPEN

    def by_protocol(payload: bytes) -> list[bytes]:
        protocol.send_text(payload)
        return protocol.data_to_send()

    def by_frame(payload: bytes) -> bytes:
        return Frame(Opcode.TEXT, payload).serialize(mask=False)

    sys.stdout.write(f"best of {RUNS} runs of {FRAMES:,} frames, ns a frame\n")
    sys.stdout.write("  bytes  text_frame  Frame.serialize         ServerProtocol\n")
    for size in SIZES:
        payload = b"x" * size
        ours = ns_a_frame(text_frame, payload)
        frame = ns_a_frame(by_frame, payload)
        whole = ns_a_frame(by_protocol, payload)
        sys.stdout.write(
            f"{size:7,} {ours:11,.0f} {frame:10,.0f} ({frame / ours:4.1f} x)"
            f" {whole:12,.0f} ({whole / ours:4.1f} x)\n"
        )


if __name__ == "__main__":
    main()
