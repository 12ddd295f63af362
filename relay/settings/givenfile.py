"""A file that the operator has named: read whole, if it is a file, and never waited for.

All files that people name, and those that others may have put in the data directory, are read by
`read_file`: to open a fifo waits for who writes to it, to read a terminal for a person, and to open
some devices does something.
"""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from relay.errors import SettingsError
from relay.settings.words import one_line

_KINDS: Final = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a fifo",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Found(NamedTuple):
    """What a file holds, and its state when that was read."""

    content: bytes
    status: os.stat_result


class Unreadable(Exception):  # a refusal, which says what is
    """There is no file to read; `str` says why, and nothing of its name."""


class TooLarge(Unreadable):
    """There is more in a file than may be read of it."""


def read_file(path: Path | str, *, max_bytes: int) -> Found:
    """Return what the file at `path` holds; of one that is too large nothing is read.

    Raises:
        FileNotFoundError: there is none.
        Unreadable: it is a directory, a fifo or the like, or it cannot be read; as TooLarge, it
            has over `max_bytes`.
    """
    try:
        _must_be_file(os.stat(path))
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            _must_be_file(status)  # it may be another by now
            if status.st_size > max_bytes:
                raise TooLarge(f"Has over {max_bytes} bytes")
            content = b""
            while chunk := os.read(descriptor, max_bytes + 1 - len(content)):
                content += chunk
                if len(content) > max_bytes:  # it grows, or does not tell its size
                    raise TooLarge(f"Has over {max_bytes} bytes")
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(str(error.strerror)) from None
    except ValueError:  # NUL, or what the encoding of file names does not have
        raise Unreadable("No file can have this name") from None
    return Found(content, status)


def read_given(path: Path, *, max_bytes: int) -> bytes:
    """Return what the file at `path` holds.

    Raises:
        SettingsError: one line naming the file: there is none, it is a directory, a fifo or the
            like, it is larger than `max_bytes`, or it cannot be read.
    """
    name = one_line(str(path))
    try:
        return read_file(path, max_bytes=max_bytes).content
    except FileNotFoundError as error:
        raise SettingsError(f"{name}: cannot read it: {error.strerror}") from None
    except TooLarge:
        raise SettingsError(f"{name}: larger than {max_bytes} bytes, the most allowed") from None
    except Unreadable as error:
        raise SettingsError(f"{name}: cannot read it: {error}") from None


def _must_be_file(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise Unreadable(f"Is {kind}, and must be a file")
