"""The settings file: read whole, as TOML, or refused in one line."""

import codecs
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from relay.errors import SettingsError
from relay.settings.givenfile import read_given
from relay.settings.rows import secrets_of
from relay.settings.tables import TABLES
from relay.settings.words import one_line

# Over a hundred times config/relay.toml.
MAX_FILE_BYTES: Final = 1024 * 1024

_SECRETS: Final = {table: names for table, kind in TABLES.items() if (names := secrets_of(kind))}


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


def exposed_secrets(path: Path, document: Mapping[str, Any]) -> Iterator[str]:
    """Say that others may read the file at `path`, if what it says, `document`, has secrets."""
    if not any(_has_secret(document.get(table), names) for table, names in _SECRETS.items()):
        return
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # it was read a moment ago
    if mode & stat.S_IRWXO:
        name = one_line(str(path))
        yield f"it holds secrets, and everyone may use it (mode {mode:04o}): chmod 600 {name}"


def _has_secret(content: object, names: frozenset[str]) -> bool:
    return isinstance(content, dict) and any(content.get(name) for name in names)
