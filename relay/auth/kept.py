"""A list that operators keep by the admin, in a file of the data directory of the relay.

The admin alone writes it, whole and synced; fronts read it when it has changed. It is beside the
stores: no re-sharding touches it. One that was never written is empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from relay.auth.secretfile import MAX_BYTES, SecretFile
from relay.errors import DiskError, SettingsError

Content = TypeVar("Content", bound=msgspec.Struct)


class KeptFile(Generic[Content]):
    """One such file; `name` is what people call it."""

    def __init__(self, path: Path, name: str, empty: Content) -> None:
        """`empty` is what it says until it is written, and of which type its content is."""
        self._path = path
        self._name = name
        self._empty = empty
        self._file = SecretFile(str(path), name, is_secret=False)

    def read(self) -> Content:
        """Return what it says now.

        Raises:
            SettingsError: it is unusable.
        """
        if not self._path.exists():
            return self._empty
        try:
            return msgspec.json.decode(self._file.read(), type=type(self._empty))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SettingsError(f"{self._name}: {self._path} is damaged: {error}") from None

    def has_changed(self) -> bool:
        """Tell, once, whether it is another than when it was read or last looked at here."""
        return self._file.has_changed()

    def text(self, content: Content, *, to_make_room: str) -> bytes:
        """Return it as it says that; `to_make_room` is what to do where there is too much.

        Raises:
            DiskError: it would be larger than fronts read.
        """
        text = msgspec.json.format(msgspec.json.encode(content), indent=0) + b"\n"
        if len(text) > MAX_BYTES:
            raise DiskError(f"{self._path} would have over {MAX_BYTES} bytes; {to_make_room}")
        return text
