"""The files that operators change by one host's admin, and that are the same on all hosts.

What counts is in the cluster's bucket, whole. The admin that changes a file writes it there first,
if nobody else did meanwhile, and then its own copy. The agents of all hosts write what they find
there (relay.cluster.chores), so a host that was away has it soon after. So it is with the accord,
which an agent writes there when its host is told to reload.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from relay import log
from relay.cluster.access import login_of, servers_of
from relay.cluster.jetstream import ApiError, NoMajority, WrongLastSequence, kv_get, kv_put
from relay.cluster.natswire import MessageTooLarge, Wire, WireLost
from relay.disk.accord import accord_path
from relay.disk.files import replace_file
from relay.disk.layout import bans_path, groups_path, revocations_path
from relay.errors import DiskError, RelayError
from relay.settings.clustering import ClusterSettings

# By their keys in the bucket, where they are in a data directory.
PATHS: Final[Mapping[str, Callable[[Path], Path]]] = {
    "groups": groups_path,
    "bans": bans_path,
    "revocations": revocations_path,
    "accord": accord_path,
}

# Of those, what a backup has. Not what operators write into files, which they keep: in the accord
# there are keys, and one that was replaced since must not be good again.
MADE_BY_API: Final = ("groups", "bans", "revocations")

_CONNECT_S: Final = 2.0
_ANSWER_S: Final = 2.0
# The election of who leads the bucket takes up to 9 s. And of admins that change the same at once
# one comes first: the others try again, each at a time of its own.
_WITHIN_S: Final = 12.0
_AGAIN_S: Final = 0.2
# More than any of the files may have, and an end to what somebody else might have put there.
_MOST_BYTES: Final = 32 * 1024 * 1024


class SharedDamaged(RelayError):
    """What the bucket has of a file is none: somebody else has put it there."""


class Kept(NamedTuple):
    """What the bucket has of a file, None: nothing yet, and the revision of that."""

    content: bytes | None
    revision: int


def read_kept(wire: Wire, cluster: str, key: str, timeout_s: float) -> Kept:
    """Return what the bucket has.

    Raises:
        SharedDamaged: it is no file of ours.
        TimeoutError, WireLost, ApiError: as `kv_get`.
    """
    entry = kv_get(wire, cluster, key, timeout_s)
    if entry is None:
        return Kept(None, 0)
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(entry.value, _MOST_BYTES)
    except zlib.error as error:
        raise SharedDamaged(f"{key} in the bucket is damaged: {error}") from None
    if not unpacker.eof:
        raise SharedDamaged(f"{key} in the bucket is damaged: it has no end")
    return Kept(content, entry.revision)


def bring_up_to_date(path: Path, content: bytes) -> bool:
    """Have the file be that; tell whether it was another one.

    One process at a time: the agent has it from the bucket while the admin writes it.

    Raises:
        DiskError: it cannot be written.
    """
    try:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        try:
            if path.read_bytes() == content:
                return False
        except OSError:
            pass  # it is missing, or to be written anew
        replace_file(path, content)
        return True
    finally:
        os.close(directory)


def take(cluster: ClusterSettings, keys: Iterable[str], data: Path) -> None:
    """Have the files of those keys in a data directory be as the bucket has them.

    Raises:
        DiskError: the cluster does not say now, or they cannot be written.
    """
    try:
        servers, login = servers_of(cluster), login_of(cluster)
        with contextlib.closing(Wire(servers, login, name="admin", connect_s=_CONNECT_S)) as wire:
            for key in keys:
                kept = read_kept(wire, cluster.name, key, _ANSWER_S)
                if kept.content is not None:
                    bring_up_to_date(PATHS[key](data), kept.content)
    except (WireLost, ApiError, SharedDamaged, TimeoutError) as error:
        raise DiskError(f"the cluster does not say now: {error}") from None


class SharedFile:
    """One of the files, for the admin of this host; its methods wait for the engine."""

    def __init__(self, cluster: ClusterSettings, key: str, data: Path) -> None:
        """`key` is one of PATHS."""
        self._cluster = cluster
        self._key = key
        self._path = PATHS[key](data)

    def change(self, edit: Callable[[], bytes | None]) -> None:
        """Have the file be on all hosts what `edit` makes of it; None: as it is.

        The file here is up to date when `edit` is called, which may be more than once.

        Raises:
            DiskError: the cluster does not take it now, or the file cannot be written. Where no
                answer came, it may hold nevertheless.
        """
        try:
            servers, login = servers_of(self._cluster), login_of(self._cluster)
            with contextlib.closing(
                Wire(servers, login, name="admin", connect_s=_CONNECT_S)
            ) as wire:
                self._change(wire, edit)
        except (WireLost, ApiError, MessageTooLarge, SharedDamaged) as error:
            raise DiskError(f"the cluster does not take it now: {error}") from None

    def _change(self, wire: Wire, edit: Callable[[], bytes | None]) -> None:
        until_s = time.monotonic() + _WITHIN_S
        while True:
            try:
                if self._try(wire, edit):
                    return
                reason = "others change it at the same time"
            except (TimeoutError, NoMajority) as error:
                reason = str(error)
            if time.monotonic() >= until_s:
                raise DiskError(f"the cluster does not take it now: {reason}")
            time.sleep(_AGAIN_S * random.random())  # noqa: S311  # no secret

    def _try(self, wire: Wire, edit: Callable[[], bytes | None]) -> bool:
        kept = read_kept(wire, self._cluster.name, self._key, _ANSWER_S)
        if kept.content is not None:
            bring_up_to_date(self._path, kept.content)
        content = edit()
        if content is None:
            return True
        try:
            kv_put(
                *(wire, self._cluster.name, self._key, zlib.compress(content)),
                expected=kept.revision,
                timeout_s=_ANSWER_S,
            )
        except WrongLastSequence:
            return False
        bring_up_to_date(self._path, content)
        log.get_logger().info("shared.changed", file=self._path.name, bytes=len(content))
        return True
