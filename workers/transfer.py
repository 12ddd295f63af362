"""How a standby gets a store that it cannot make from the log alone: a copy of another host's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from relay import log
from relay.cluster.fetching import Ask, NoCopy, Reading
from relay.disk.files import sync
from workers.store.journal import FILE_NAMES
from workers.store.seal import break_seal
from workers.store.storefile import FILE_NAME

__all__ = ["NoCopy", "Source"]

# What is received, until it is whole.
_UNFINISHED: Final = "received.mdb"


class Source:
    """Where copies of one range come from."""

    def __init__(
        self, ask: Ask, *, cluster: str, range_: int, host: str, on_wait: Callable[[], None]
    ) -> None:
        """`host` is this one. `on_wait` is called at least every few seconds, so that it lives."""
        self._reading = Reading(ask, cluster=cluster, range_=range_, on_wait=on_wait)
        self._host = host

    def fetch(self, directory: Path) -> int:
        """Replace the store in `directory`, if any, by a copy; return its last record's number.

        Killed at any moment it leaves the store of before, or none, or the copy.

        Raises:
            NoCopy: there is none to be had.
            OSError: it cannot be written.
        """
        holder = self._reading.seek(self._host)
        copied = self._reading.wait_for_copy(holder)
        log.get_logger().info(
            "store.fetching", source=holder, number=copied.number, bytes=copied.size
        )
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        received = directory / _UNFINISHED
        try:
            self._reading.read(holder, copied, received)
            self._put_in_place(directory, received)
        finally:
            received.unlink(missing_ok=True)
        self._reading.let_go(holder, copied)
        log.get_logger().info("store.fetched", source=holder, number=copied.number)
        return copied.number

    def _put_in_place(self, directory: Path, received: Path) -> None:
        """Make what was received the store. The old one goes first: its journal is not the new's.

        In that order: a copy beside the old journal would be taken for damaged.
        """
        break_seal(directory)
        for name in (FILE_NAME, "lock.mdb", *FILE_NAMES):
            (directory / name).unlink(missing_ok=True)
        sync(directory)
        received.replace(directory / FILE_NAME)
        sync(directory)
