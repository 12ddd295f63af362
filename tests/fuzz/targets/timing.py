"""Whether work took longer than its input allows, on a machine that does other things too."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

# Some times what inputs take where the time is linear, with every branch of the code counted.
_BASE_S: Final = 0.01
_ATTEMPTS: Final = 4


class TooSlow(AssertionError):
    """Work took too long every time."""


def in_linear_time(work: Callable[[], object], size: int, *, byte_s: float = 3e-6) -> None:
    """Do the work, and again where it took longer than so much a byte.

    Raises:
        TooSlow: it took too long each time.
    """
    limit_s = _BASE_S + size * byte_s
    took_s = []
    for _ in range(_ATTEMPTS):
        begin_s = time.process_time()
        work()
        took_s.append(time.process_time() - begin_s)
        if took_s[-1] <= limit_s:
            return
    raise TooSlow(f"{size} bytes took {min(took_s):.3f} s of CPU")
