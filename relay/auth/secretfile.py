"""A file of an operator that says who may come in: read whole, within bounds, and watched."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from relay.errors import SettingsError

# Far more than a thousand keys or denied users take.
MAX_BYTES: Final = 1024 * 1024


class Mark(NamedTuple):
    """What tells one state of a file from another without reading it: its mode counts, too."""

    inode: int
    size: int
    changed_ns: int


class SecretFile:
    """One file. `setting` is what named it, for people."""

    def __init__(self, path: str, setting: str, *, is_secret: bool, if_empty: str = "") -> None:
        """`if_empty` tells people what to write where nothing is meant."""
        self.path = path
        self._if_empty = f"; {if_empty}" if if_empty else ""
        self.setting = setting
        self._is_secret = is_secret
        self._mark: Mark | None = None

    def read(self) -> bytes:
        """Return its content.

        Raises:
            SettingsError: it cannot be read, is empty or too large, or is a secret that others than
                its owner and group may read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise self._refused("is no file")
                if self._is_secret and status.st_mode & stat.S_IRWXO:
                    raise self._refused(
                        f"may be used by everyone (mode {stat.S_IMODE(status.st_mode):04o});"
                        f" chmod o= {self.path}"
                    )
                content = os.read(descriptor, MAX_BYTES + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from None
        if not content.strip():
            raise self._refused(f"is empty{self._if_empty}")
        if len(content) > MAX_BYTES:
            raise self._refused(f"has over {MAX_BYTES} bytes")
        self._mark = _mark_of(status)
        return content

    def has_changed(self) -> bool:
        """Tell, once, whether it is another than when it was read or last looked at here.

        One that is gone has not changed.
        """
        try:
            mark = _mark_of(os.stat(self.path))
        except OSError:
            return False
        before, self._mark = self._mark, mark
        return mark != before

    def _refused(self, why: str) -> SettingsError:
        return SettingsError(f"{self.setting}: {Path(self.path)} {why}")


def _mark_of(status: os.stat_result) -> Mark:
    return Mark(status.st_ino, status.st_size, status.st_ctime_ns)
