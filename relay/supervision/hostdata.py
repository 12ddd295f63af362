"""The data directory of a host of a cluster: the ranges that it may have, and how often it began.

A store that is missing is no loss here, as it is where a relay is on one host: the range's log has
what was in it, and so have other hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from relay.bus import identity
from relay.clock import now_ms
from relay.disk.files import replace_file
from relay.disk.layout import (
    Layout,
    boots_path,
    generation_directory,
    read_layout,
    write_layout,
)
from relay.errors import BootError
from relay.settings.givenfile import Unreadable, read_file

# As JSON numbers incarnations are exact up to 2 ** 53.
BOOT_SHIFT: Final = identity.BOOT_SHIFT
_MOST_BOOTS: Final = 1 << 28
_MOST_BYTES: Final = 64  # of the file
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
    """Return which start of a supervisor of this host this is; never one number twice.

    It is at least the minute that it is by the clock: so no number comes again either where the
    data directory was lost, and the host begins with an empty one.

    Raises:
        BootError: nobody can tell any more.
        DiskError: it cannot be written.
    """
    path = boots_path(data)
    advice = "remove it if the clock of this host is right"
    try:
        before = int(read_file(path, max_bytes=_MOST_BYTES).content)
    except FileNotFoundError:
        before = 0
    except (Unreadable, ValueError) as error:
        raise BootError(f"{path} cannot be read: {error}; {advice}") from None
    if not 0 <= before < _MOST_BOOTS - 1:
        raise BootError(f"{path} says {before}, which is no number of starts; {advice}")
    minutes = now_ms() // 60_000
    boot = max(before + 1, minutes if minutes < _MOST_BOOTS // 2 else 0)
    replace_file(path, b"%d\n" % boot)
    return boot
