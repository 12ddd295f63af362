"""Writes the list of bans: the admin is the only one who does."""

from __future__ import annotations

from pathlib import Path

from relay.auth.banned import Ban, BanList, encode_bans
from relay.auth.secretfile import MAX_BYTES
from relay.disk.files import replace_file
from relay.errors import DiskError


class Bans:
    """Those of one data directory, read anew each time: nothing here is older than the file."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def all(self) -> list[Ban]:
        """Return them in the order in which they came.

        Raises:
            SettingsError: the file is unusable; nobody is banned or let in until it is mended.
        """
        return BanList(self._data).read()

    def add(self, ban: Ban) -> Ban:
        """Ban a user, durably; return the ban that counts, which is the first.

        Raises:
            SettingsError: as `all`.
            DiskError: it cannot be written, or would be larger than fronts read.
        """
        found = self.all()
        for each in found:
            if each.user == ban.user:
                return each
        self._write([*found, ban])
        return ban

    def remove(self, user: str) -> bool:
        """Lift a ban, durably; tell whether there was one.

        Raises:
            SettingsError, DiskError: as `add`.
        """
        found = self.all()
        left = [each for each in found if each.user != user]
        if len(left) == len(found):
            return False
        self._write(left)
        return True

    def _write(self, bans: list[Ban]) -> None:
        content = encode_bans(bans)
        path = BanList(self._data).path
        if len(content) > MAX_BYTES:
            raise DiskError(f"{path} would have over {MAX_BYTES} bytes; lift bans first")
        replace_file(path, content)
