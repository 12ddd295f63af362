"""Memory that a process has freed, and that its allocator would keep."""

from __future__ import annotations

import ctypes
from typing import Final

# Of glibc; another allocator goes its own way.
_trim: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Give what is free to the kernel: some ms, and half a second for some hundred MiB.

    By itself the allocator gives back only what is free at the end of the heap, where something
    that stays nearly always is.
    """
    if _trim is not None:
        _trim(0)
