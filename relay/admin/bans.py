"""Writes the list of bans: the admin is the only one who does."""

from __future__ import annotations

from pathlib import Path

from relay.auth.banned import Ban, BanBook, bans_file


class Bans:
    """Those of one data directory, read anew each time: nothing here is older than the file."""

    def __init__(self, data: Path) -> None:
        self._file = bans_file(data)

    def all(self) -> list[Ban]:
        """Return them in the order in which they came.

        Raises:
            SettingsError: the file is unusable; nobody is banned or let in until it is mended.
        """
        return self._file.read().bans

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
        self._file.write(BanBook(bans), to_make_room="lift bans first")
