"""`python -m workers.tools.handout`: a copy of one store, for a host that has none of it.

The store may be in use: the copy is of one moment, with the number of the last record that it has.
Whoever gets it goes on with the next one. The agent of a cluster starts this, and reads the line
that it prints.
"""

from __future__ import annotations

import argparse
import errno
import sys
from pathlib import Path
from typing import Final

import msgspec

from relay.cluster.transfers import Copied
from relay.disk.files import free_bytes, sync
from relay.errors import StoreDamaged
from relay.settings.sizes import MIB
from workers.store.snapshot import Snapshot
from workers.store.storefile import FILE_NAME

# What a copy leaves of the disk: nobody's help may be what fills it.
SPARED_BYTES: Final = 256 * MIB


def hand_out(store: Path, to: Path) -> Copied:
    """Copy the store in the directory `store` to the empty directory `to`, durably.

    Raises:
        StoreDamaged: it cannot be read whole.
        OSError: it cannot be read, or the copy not be written.
    """
    snapshot = Snapshot(store)
    try:
        needed = snapshot.used_bytes() + SPARED_BYTES
        if (free := free_bytes(to)) < needed:
            raise OSError(
                errno.ENOSPC, f"the disk has {free} bytes free, and a copy needs {needed}"
            )
        snapshot.copy(to)
        number = snapshot.last.number
    finally:
        snapshot.close()
    file = to / FILE_NAME
    file.chmod(0o600)
    sync(file)
    return Copied(number, file.stat().st_size)


def main(argv: list[str]) -> int:
    """Copy as `argv` says, and print a line of JSON (`relay.cluster.transfers.Copied`)."""
    parser = argparse.ArgumentParser(description="Started by the agent of a cluster, not by hand.")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args(argv)
    try:
        copied = hand_out(given.store, given.to)
    except (StoreDamaged, OSError) as error:
        sys.stderr.write(f"{given.store} cannot be copied: {error}\n")
        return 1
    sys.stdout.write(msgspec.json.encode(copied).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
