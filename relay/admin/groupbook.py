"""The groups that operators make through the admin: a second provisioning file, beside the stores.

    data/groups-made.json    as `server.groups` is written, and read by the supervisor with it

The admin alone writes it, whole and synced. Of a group that both files name, that of the operator's
own file counts, and it cannot be changed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from threading import Lock

import msgspec

from relay.admin.keeper import Keeper, keeper_of
from relay.disk.accord import given_groups, read_accord
from relay.disk.groupfile import MAX_FILE_BYTES, Group, encode_groups, load_groups, parse_groups
from relay.disk.layout import groups_path
from relay.errors import DiskError
from relay.settings.tables import Settings


class Book(msgspec.Struct, frozen=True):
    """All groups by local part, of both files."""

    given: Mapping[str, Group]  # in the operator's file
    made: Mapping[str, Group]  # here

    @property
    def all(self) -> dict[str, Group]:
        """Return those that count."""
        return {**self.made, **self.given}


class GivenElsewhere(Exception):  # a refusal, which says what is
    """The operator's file names a group that was to be changed here."""


class GroupBook:
    """The one of an admin; its methods read and write files, so call them in a thread."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._lock = Lock()

    def read(self) -> Book:
        """Return what both files say now.

        Raises:
            SettingsError: one of them is unusable.
        """
        settings = self._settings()
        limit = settings.limits.group_members
        made = load_groups(self._path, max_members=limit) if self._path.exists() else {}
        accord = read_accord(Path(settings.server.data)) if settings.cluster.is_on else None
        return Book(given_groups(settings.server.groups, accord, max_members=limit), made)

    def put(self, document: bytes) -> list[str]:
        """Make or replace the groups of a document; return their local parts.

        Raises:
            SettingsError: it is not as a groups file is, or `read` fails.
            GivenElsewhere: one of them is in the operator's file.
            DiskError: it cannot be written, or would be larger than what is read.
        """
        limit = self._settings().limits.group_members
        groups = parse_groups(document, place="the request", max_members=limit)
        with self._lock:
            self._keeper().change(lambda: self._with(groups))
        return list(groups)

    def remove(self, local: str) -> bool:
        """Remove a group; tell whether there was one.

        Raises:
            SettingsError, GivenElsewhere, DiskError: as `put`.
        """
        with self._lock:
            was_there = False

            def edit() -> bytes | None:
                nonlocal was_there
                book = self.read()
                _must_be_ours(book, [local])
                was_there = local in book.made
                left = {name: group for name, group in book.made.items() if name != local}
                return self._content(left) if was_there else None

            self._keeper().change(edit)
        return was_there

    def _with(self, groups: Mapping[str, Group]) -> bytes | None:
        """Return the file with those groups, None where it has them so."""
        book = self.read()
        _must_be_ours(book, groups)
        if all(book.made.get(local) == group for local, group in groups.items()):
            return None
        return self._content({**book.made, **groups})

    def _content(self, groups: Mapping[str, Group]) -> bytes:
        content = encode_groups(groups)
        if len(content) > MAX_FILE_BYTES:
            raise DiskError(
                f"{self._path} would have over {MAX_FILE_BYTES} bytes; delete groups first"
            )
        return content

    def _keeper(self) -> Keeper:
        return keeper_of(self._settings().cluster, "groups", self._path)

    @property
    def _path(self) -> Path:
        return groups_path(Path(self._settings().server.data))


def _must_be_ours(book: Book, names: Iterable[str]) -> None:
    for local in names:
        if local in book.given:
            raise GivenElsewhere(
                f"group {local}@g.us is in the groups file (server.groups), which counts:"
                " edit it, then `relay reload`"
            )
