"""The data directory of a host of a cluster: the ranges that it may have, and how often it began.

A store that is missing is no loss here, as it is where a relay is on one host: the range's log has
what was in it, and so have other hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from relay.disk.files import replace_file
from relay.disk.layout import (
    Layout,
    boots_path,
    generation_directory,
    read_layout,
    write_layout,
)
from relay.errors import BootError

# An incarnation is a boot and which process of it; both on the wire of JSON, whose numbers are
# exact up to 2 ** 53.
BOOT_SHIFT: Final = 24
_MOST_BOOTS: Final = 1 << 28
_MODE: Final = 0o700


def prepare(data: Path, ranges: int) -> None:
    """Have `data` laid out for so many ranges, of which it holds none at first.

    Raises:
        BootError: it is laid out for another number.
        DiskError: it cannot be written.
    """
    layout = read_layout(data)
    if layout.generation and layout.workers != ranges:
        raise BootError(
            f"data directory {data} is laid out for {layout.workers} workers, and the cluster has"
            f" {ranges} ranges, which cannot be changed: move it away to start this host empty"
        )
    if not layout.generation:
        layout = Layout(generation=1, workers=ranges)
        write_layout(data, layout)
    stores = generation_directory(data, layout.generation)
    try:
        stores.mkdir(mode=_MODE, exist_ok=True)
    except OSError as error:
        raise BootError(f"{stores} cannot be made: {error.strerror}") from None


def count_boot(data: Path) -> int:
    """Return how often a supervisor has begun here, this one included; never one number twice.

    Raises:
        BootError: nobody can tell any more.
        DiskError: it cannot be written.
    """
    path = boots_path(data)
    try:
        before = int(path.read_text())
    except FileNotFoundError:
        before = 0
    except (OSError, ValueError) as error:
        raise BootError(f"{path} cannot be read: {error}; move {data} away to start anew") from None
    if not 0 <= before < _MOST_BOOTS:
        raise BootError(f"{path} says {before}; move {data} away to start this host empty")
    replace_file(path, f"{before + 1}\n".encode())
    return before + 1
