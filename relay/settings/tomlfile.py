"""The settings file: read whole, as TOML, or refused in one line."""

import codecs
import tomllib
from pathlib import Path
from typing import Any, Final

from relay.errors import SettingsError
from relay.settings.givenfile import read_given
from relay.settings.words import one_line

# Over a hundred times config/relay.toml.
MAX_FILE_BYTES: Final = 1024 * 1024


def read_document(path: Path) -> dict[str, Any]:
    """Return what the TOML file at `path` says; a byte order mark at its start is no part of it.

    Raises:
        SettingsError: one line naming the file, and the line or byte where there is one.
    """
    name = one_line(str(path))
    raw = read_given(path, max_bytes=MAX_FILE_BYTES)
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
