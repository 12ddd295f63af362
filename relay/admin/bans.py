"""Writes the list of bans: the admin is the only one who does."""

from __future__ import annotations

from pathlib import Path

from relay.admin.keeper import Keeper, OwnFile
from relay.auth.banned import Ban, BanBook, bans_file
from relay.disk.layout import bans_path


class Bans:
    """Those of one data directory, read anew each time: nothing here is older than the file."""

    def __init__(self, data: Path, keeper: Keeper | None = None) -> None:
        """Change them by `keeper`; without one they are this host's alone."""
        self._file = bans_file(data)
        self._keeper = keeper or OwnFile(bans_path(data))

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
        counts = ban

        def edit() -> bytes | None:
            nonlocal counts
            found = self.all()
            counts = next((each for each in found if each.user == ban.user), ban)
            return self._text([*found, ban]) if counts is ban else None

        self._keeper.change(edit)
        return counts

    def remove(self, user: str) -> bool:
        """Lift a ban, durably; tell whether there was one.

        Raises:
            SettingsError, DiskError: as `add`.
        """
        was_there = False

        def edit() -> bytes | None:
            nonlocal was_there
            found = self.all()
            left = [each for each in found if each.user != user]
            was_there = len(left) < len(found)
            return self._text(left) if was_there else None

        self._keeper.change(edit)
        return was_there

    def _text(self, bans: list[Ban]) -> bytes:
        return self._file.text(BanBook(bans), to_make_room="lift bans first")
