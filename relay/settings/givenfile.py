"""A file that the operator has named: read whole, if it is a file, and never waited for."""

import os
import stat
from pathlib import Path
from typing import Final

from relay.errors import SettingsError
from relay.settings.words import one_line

_KINDS: Final = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_given(path: Path, *, max_bytes: int) -> bytes:
    """Return what the file at `path` holds.

    Raises:
        SettingsError: one line naming the file: there is none, it is a directory, a fifo or the
            like, it is larger than `max_bytes`, or it cannot be read.
    """
    name = one_line(str(path))
    try:
        # To open a fifo would wait for who writes to it, and to read a terminal for a person.
        with open(path, "rb", opener=_open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                kind = _KINDS.get(stat.S_IFMT(mode), "something else")
                raise SettingsError(f"{name}: cannot read it: Is {kind}, and must be a file")
            raw = file.read(max_bytes + 1)
    except OSError as error:
        raise SettingsError(f"{name}: cannot read it: {error.strerror}") from None
    except ValueError:  # NUL, or what the encoding of file names does not have
        raise SettingsError(f"{name}: cannot read it: No file can have this name") from None
    if len(raw) > max_bytes:
        raise SettingsError(f"{name}: larger than {max_bytes} bytes, the most allowed")
    return raw


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
