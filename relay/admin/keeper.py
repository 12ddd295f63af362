"""Where the admin's files go: to the disk, and in a cluster to all hosts first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final, Literal, Protocol

from relay.disk.files import replace_file
from relay.settings.clustering import ClusterSettings

Key = Literal["groups", "bans", "revocations"]


class Keeper(Protocol):
    """One file."""

    def change(self, edit: Callable[[], bytes | None]) -> None:
        """Have the file be what `edit` makes of it, durably; None: it stays as it is.

        Raises:
            DiskError: it cannot be written; of what `edit` raises the same holds.
        """


# One change at a time in an admin: each is made of what the last one left.
_CHANGES: Final = Lock()


class OwnFile:
    """That of a relay on one host."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def change(self, edit: Callable[[], bytes | None]) -> None:
        """See `Keeper`."""
        with _CHANGES:
            content = edit()
            if content is not None:
                replace_file(self._path, content)


def keeper_of(
    cluster: ClusterSettings, key: Literal["groups", "bans", "revocations"], path: Path
) -> Keeper:
    """Return who keeps the file at `path`, in a data directory, which is that of `key`."""
    if not cluster.is_on:
        return OwnFile(path)
    # Here, because a relay on one host needs nothing of it.
    from relay.cluster.shared import SharedFile

    return SharedFile(cluster, key, path.parent)


def take_changes(cluster: ClusterSettings, data: Path) -> None:
    """Have the lists of whom nobody lets in be here what all hosts have; it waits for the engine.

    Raises:
        DiskError: the cluster does not say now, or they cannot be written.
    """
    from relay.cluster.shared import take

    take(cluster, ("bans", "revocations"), data)
