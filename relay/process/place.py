"""Where a child process stands in its relay: what the supervisor gave it at its start."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from relay import log
from relay.disk.groupfile import Group, unpack_groups
from relay.process.channel import ChildEnd
from relay.process.memo import read_memo
from relay.settings.tables import Settings


class Place(msgspec.Struct, frozen=True):
    """Where this process stands in its relay; see relay.supervision.child for who sets what."""

    run_dir: Path
    index: int
    incarnation: int
    settings: Settings
    control: ChildEnd
    groups: int | None = None  # the memo of the groups at its start, for a worker
    listener: int | None = None  # the socket of its seat, bound and not its own, for a front
    keys: int | None = None  # the memo of the keys that were fetched before its start, for a front

    @property
    def data_dir(self) -> Path:
        """The directory that holds every worker's store."""
        return Path(self.settings.server.data)

    @property
    def host(self) -> str:
        """The name of this host in its cluster, empty without one."""
        cluster = self.settings.cluster
        return cluster.host_name if cluster.is_on else ""

    def taken(self, settings: Settings) -> Settings:
        """Return other settings, and log as they say; `settings` of the place stays the first."""
        log.reconfigure(settings.log.format, settings.log.level)
        log.get_logger().debug("settings.taken")
        return settings


def read_settings(fd: int) -> Settings:
    """Return the settings of a memo that the supervisor wrote, and close it."""
    try:
        return msgspec.json.decode(read_memo(fd), type=Settings)
    finally:
        os.close(fd)


def read_keys(fd: int) -> bytes:
    """Return the keys of a memo that the supervisor wrote, and close it."""
    try:
        return read_memo(fd)
    finally:
        os.close(fd)


def read_groups(fd: int) -> dict[str, Group]:
    """Return the groups of a memo that the supervisor wrote, by local part, and close it."""
    try:
        return unpack_groups(read_memo(fd))
    finally:
        os.close(fd)
