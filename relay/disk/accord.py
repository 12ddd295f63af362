"""What all hosts of a cluster have alike of what operators write into files: one accord for all.

    data/accord.json    the accord that this host has heard of last, as the cluster's bucket has it
    data/agreed.json    what the files of this host said when they last agreed with it, a row each

A reload on one host makes the next accord of what its files say. What the files of another host say
counts no more then, until they are changed: a row whose value in the files is the one that they had
when they last agreed is **old**, where the accord has another. Old values are never shared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from relay.disk.files import replace_file
from relay.disk.groupfile import Group, load_groups
from relay.errors import DiskError, SettingsError
from relay.protocol.jid import group_jid
from relay.settings.givenfile import Unreadable, read_file
from relay.settings.words import shown

# More than a groups file may have, and all settings, as they are written here.
MOST_BYTES: Final = 32 * 1024 * 1024
# Of a content: enough to tell it from any other one.
_DIGITS: Final = 16


class Origin(msgspec.Struct, frozen=True):
    """Which accord it is, whose and since when; no two have all three alike."""

    number: int = 0  # the first is 1
    by: str = ""  # the host on which an operator had the files read
    at_ms: int = 0  # since 1970, by that host's clock

    @property
    def since(self) -> str:
        """The time, for people."""
        return f"{datetime.fromtimestamp(self.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"

    def __str__(self) -> str:
        return f"{self.number}, of {self.by} since {self.since}"


class Accord(msgspec.Struct, frozen=True):
    """All of it: the settings that are shared, by key, and the groups of the operator's files.

    Groups are None where no host has named a file of them yet: each then goes by its own. `files`
    are what those hold whose content is shared, by the key of the setting that names them.
    """

    origin: Origin
    settings: Mapping[str, Any]
    groups: Mapping[str, Group] | None = None
    files: Mapping[str, tuple[bytes, ...]] = {}

    @property
    def rows(self) -> Rows:
        """What it says, a row each."""
        return rows_of(self.settings, self.groups, self.files)

    def __repr__(self) -> str:
        return f"Accord({self.origin})"  # there are secrets in its files

    def encoded(self) -> bytes:
        """Return it as files and the bucket have it; the same for the same."""
        return _encode(self)


class Rows(NamedTuple):
    """What files say, or the accord, a row each: a setting by its key, a group by its jid.

    Without a say in groups there are none in `values`, and that is no difference. Of a group, and
    of what other files hold, the value is a mark of it.
    """

    values: Mapping[str, Any]
    says_groups: bool


class Difference(NamedTuple):
    """A row of which the files say something else than the accord; None: it is not there."""

    row: str
    here: Any
    there: Any

    @property
    def is_group(self) -> bool:
        """Whether it is of a group, and of no setting."""
        return _is_group(self.row)

    @property
    def key(self) -> str:
        """The key of the setting that it is about, or the row."""
        return self.row.removeprefix(CONTENT_OF)

    def words(self, place: str) -> str:
        """Return it for people; `place` is where the files say it."""
        if self.is_group:
            return f"group {self.row} {_IS[self.here is None, self.there is None]} ({place})"
        if self.row.startswith(CONTENT_OF):
            return f"{self.row} is another one than in the cluster ({place})"
        return f"{self.row}: {shown(self.here)} here ({place}), {shown(self.there)} in the cluster"


# Begins the name of a row of what files hold, the key of who names them behind it.
CONTENT_OF: Final = "content of "
_IS: Final = {
    (True, False): "is not here, and is in the cluster",
    (False, True): "is here, and is not in the cluster",
    (False, False): "is another one than in the cluster",
}
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Accord).decode


def rows_of(
    settings: Mapping[str, Any],
    groups: Mapping[str, Group] | None,
    files: Mapping[str, tuple[bytes, ...]],
) -> Rows:
    """Return the rows of settings, by key, of groups, and of what files hold."""
    marks = {group_jid(local): _mark_of(group) for local, group in (groups or {}).items()}
    marks |= {CONTENT_OF + key: _mark_of(content) for key, content in files.items()}
    return Rows({**settings, **marks}, groups is not None)


def _mark_of(content: object) -> str:
    return sha256(_encode(content)).hexdigest()[:_DIGITS]


def differences(files: Rows, accord: Rows) -> list[Difference]:
    """Return where both say something, and not the same."""
    both = files.says_groups and accord.says_groups
    found = []
    for row in sorted({*files.values, *accord.values}):
        here, there = files.values.get(row), accord.values.get(row)
        is_group = _is_group(row)
        # A setting that one of them has not is of another version of the relay; or nobody names a
        # file there.
        is_judged = both if is_group else row in files.values and row in accord.values
        if is_judged and here != there:
            found.append(Difference(row, here, there))
    return found


def old_ones(found: list[Difference], agreed: Rows) -> list[Difference]:
    """Return those of which the files still say what they did when they last agreed."""
    return [each for each in found if each.here == agreed.values.get(each.row)]


def agreed_after(agreed: Rows | None, files: Rows, accord: Rows | None) -> Rows:
    """Return what the files said when they last agreed, now that both were looked at.

    What they say when that was never noted, or while there is no accord, is nothing new either.
    """
    if agreed is None or accord is None:
        return files
    differ = {each.row for each in differences(files, accord)}
    # Not yet: a group that was made here. A setting that was never noted is of a newer version.
    news = {row for row in differ if _is_group(row) and agreed.says_groups}
    after = {row: value for row, value in files.values.items() if row not in news}
    after |= {
        row: value
        for row, value in agreed.values.items()
        if row in differ or (_is_group(row) and not files.says_groups)
    }
    return Rows(after, files.says_groups or agreed.says_groups)


def _is_group(row: str) -> bool:
    return row.endswith("@g.us")


def decode_accord(content: bytes) -> Accord:
    """Return the accord that a file or the bucket has.

    Raises:
        SettingsError: it is none.
    """
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"the accord cannot be read: {error}") from None


def accord_path(data: Path) -> Path:
    """Return where the accord is, of which a host has heard last; it may be missing."""
    return data / "accord.json"


def agreed_path(data: Path) -> Path:
    """Return where it stands what the files said when they last agreed; it may be missing."""
    return data / "agreed.json"


def shared_files_path(data: Path) -> Path:
    """Return the directory of the files whose content is shared, for who reads them here."""
    return data / "shared-files"


def read_accord(data: Path) -> Accord | None:
    """Return the accord that a host has heard of last, None: none yet.

    Raises:
        SettingsError: the file is unusable.
    """
    path = accord_path(data)
    try:
        return decode_accord(read_file(path, max_bytes=MOST_BYTES).content)
    except FileNotFoundError:
        return None
    except Unreadable as error:
        raise SettingsError(f"{path} cannot be read: {error}") from None


def read_agreed(data: Path) -> Rows | None:
    """Return what files said when they last agreed; None: nobody knows."""
    try:
        content = read_file(agreed_path(data), max_bytes=MOST_BYTES).content
        return msgspec.json.decode(content, type=Rows)
    except (FileNotFoundError, Unreadable, msgspec.DecodeError, UnicodeDecodeError):
        return None


def write_agreed(data: Path, agreed: Rows) -> None:
    """Note what the files say that agree.

    Raises:
        DiskError: it cannot be written.
    """
    replace_file(agreed_path(data), _encode(agreed))


def given_groups(path: str, accord: Accord | None, *, max_members: int) -> Mapping[str, Group]:
    """Return the groups of the operator: those of the accord where it has a say, or of the file.

    Raises:
        SettingsError: the file is unusable.
    """
    if accord is not None and accord.groups is not None:
        return accord.groups
    return load_groups(Path(path), max_members=max_members) if path else {}


def place_files(
    data: Path, contents: Mapping[str, tuple[bytes, ...]]
) -> dict[str, tuple[str, ...]]:
    """Have files hold those `contents`, by key; return where they are.

    Who reads more of them than there are now finds the first one once more: what is gone holds no
    more for anybody.

    Raises:
        DiskError: they cannot be written.
    """
    directory = shared_files_path(data)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = {}
        for key, each in contents.items():
            paths = [directory / f"{key}-{number}" for number in range(len(each))]
            for path, content in zip(paths, each, strict=True):
                _put(path, content)
            for path in directory.glob(f"{key}-*"):
                if path not in paths and each:
                    _put(path, each[0])
            found[key] = tuple(map(str, paths))
    except OSError as error:
        raise DiskError(f"{directory} cannot be written: {error.strerror}") from None
    return found


def _put(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        replace_file(path, content)
