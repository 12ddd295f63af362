"""A file of an operator that says who may come in: read whole, within bounds, and watched."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from relay.errors import SettingsError
from relay.settings.givenfile import TooLarge, Unreadable, read_file
from relay.settings.words import one_line

# Far more than a hundred keys or a thousand denied users take.
MAX_BYTES: Final = 1024 * 1024


class Mark(NamedTuple):
    """What tells one state of a file from another without reading it: its mode counts, too."""

    inode: int
    size: int
    changed_ns: int


class SecretFile:
    """One file. `setting` is what named it, for people."""

    def __init__(
        self,
        path: str,
        setting: str,
        *,
        is_secret: bool,
        max_bytes: int = MAX_BYTES,
        if_empty: str = "",
    ) -> None:
        """`if_empty` is what to do about one that is, for people."""
        self.path = path
        self._if_empty = f"; {if_empty}" if if_empty else ""
        self.setting = setting
        self._is_secret = is_secret
        self._max_bytes = max_bytes
        self._mark: Mark | None = None

    def read(self) -> bytes:
        """Return its content.

        Raises:
            SettingsError: it cannot be read, is empty or too large, or is a secret that others than
                its owner and group may read.
        """
        try:
            content, status = read_file(self.path, max_bytes=self._max_bytes)
        except FileNotFoundError as error:
            raise self._refused(f"cannot be read: {error.strerror}") from None
        except TooLarge:
            raise self._refused(f"has over {self._max_bytes} bytes") from None
        except Unreadable as error:
            raise self._refused(f"cannot be read: {error}") from None
        if self._is_secret and status.st_mode & stat.S_IRWXO:
            raise self._refused(
                f"may be used by everyone (mode {stat.S_IMODE(status.st_mode):04o});"
                f" chmod o= {self.path}"
            )
        if not content.strip():
            raise self._refused(f"is empty{self._if_empty}")
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
        return SettingsError(f"{self.setting}: {one_line(str(Path(self.path)))} {why}")


def _mark_of(status: os.stat_result) -> Mark:
    return Mark(status.st_ino, status.st_size, status.st_ctime_ns)
