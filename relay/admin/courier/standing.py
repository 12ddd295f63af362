"""Whether the endpoint has said that it wants nothing any more (410): it outlives the admin.

data/webhooks.json    {"url": ..., "gone_ms": ...}, while it has
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from relay.disk.files import replace_file
from relay.disk.layout import webhooks_path
from relay.errors import DiskError


class _Standing(msgspec.Struct, frozen=True):
    url: str
    gone_ms: int


class Standing:
    """That of the endpoint at `url`; another URL begins anew."""

    def __init__(self, data: Path, url: str) -> None:
        self._path = webhooks_path(data)
        self._url = url

    def gone_ms(self) -> int:
        """Return since when it wants nothing, in ms since 1970; 0: it does, or nobody can tell."""
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_Standing)
        except (OSError, msgspec.DecodeError):
            return 0  # at worst it is asked once more
        return found.gone_ms if found.url == self._url else 0

    def is_gone(self, now_ms: int) -> None:
        """Keep that it wants nothing.

        Raises:
            DiskError: that cannot be written; the next admin asks once more.
        """
        replace_file(self._path, msgspec.json.encode(_Standing(self._url, now_ms)))

    def is_back(self) -> None:
        """Forget it.

        Raises:
            DiskError: it cannot be removed.
        """
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise DiskError(f"{self._path} cannot be removed: {error.strerror}") from None
