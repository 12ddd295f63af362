"""The settings file: read whole, as TOML, or refused in one line."""

import codecs
import os
import stat
import tomllib
from pathlib import Path
from typing import Any, Final

from relay.errors import SettingsError
from relay.settings.words import one_line

# Some fifty times config/relay.toml.
MAX_FILE_BYTES: Final = 1024 * 1024

_KINDS: Final = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_document(path: Path) -> dict[str, Any]:
    """Return what the TOML file at `path` says; a byte order mark at its start is no part of it.

    Raises:
        SettingsError: one line naming the file, and the line or byte where there is one.
    """
    name = one_line(str(path))
    try:
        raw = _read(path)
    except OSError as error:
        raise SettingsError(f"{name}: cannot read it: {error.strerror}") from None
    except ValueError:  # NUL, and what the file system's encoding does not have
        raise SettingsError(f"{name}: cannot read it: no name of a file") from None
    if len(raw) > MAX_FILE_BYTES:
        raise SettingsError(f"{name}: larger than {MAX_FILE_BYTES} bytes, the most allowed")
    mark = codecs.BOM_UTF8 if raw.startswith(codecs.BOM_UTF8) else b""
    try:
        text = raw[len(mark) :].decode()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: not UTF-8 at byte {len(mark) + error.start}") from None
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # tomllib names the line but for an error at the very end.
        end = f"at line {len(text.splitlines()) or 1}, end of document"
        reason = one_line(str(error).replace("at end of document", end))
        raise SettingsError(f"{name}: not TOML: {reason}") from None


def _read(path: Path) -> bytes:
    # To open a fifo would wait for a writer, and to read a terminal for a person.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            return file.read(MAX_FILE_BYTES + 1)
    raise OSError(0, f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file")
