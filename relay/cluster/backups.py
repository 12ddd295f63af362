"""What a backup of a cluster is: a data directory of all ranges, and a file that says of what.

    DIR/cluster.json          where each range ends, and what each file must be: `Manifest`
    DIR/meta.json, gen-1/...  a data directory as any other (relay.disk.layout), but that no relay
                              starts on it: its stores are those of ranges
    DIR/groups-made.json ...  what operators have made by the API, as far as there is any

It has its name once it is whole: until then it is DIR.part, without the first two files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from relay.cluster.shared import PATHS
from relay.disk.files import replace_file
from relay.disk.layout import Layout, read_layout
from relay.errors import BootError, RelayError

FORMAT: Final = 1
_STORE_FILE: Final = "data.mdb"
_BLOCK_BYTES: Final = 1024 * 1024


class BackupUnusable(RelayError):
    """A backup cannot be restored from: it is none, it is not whole, or it is of other ranges."""


class RangeEnd(msgspec.Struct, frozen=True):
    """With which record a range's store ends, who owned it then, and what its file must be."""

    number: Annotated[int, Meta(ge=0)]
    epoch: Annotated[int, Meta(ge=0)]
    size: Annotated[int, Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What cluster.json says."""

    cluster: str
    made_ms: int
    version: str
    ranges: Annotated[tuple[RangeEnd, ...], Meta(min_length=1, max_length=256)]
    files: Mapping[str, str] = {}  # checksums of what operators have made, by key
    format: int = FORMAT

    @property
    def numbers(self) -> tuple[int, ...]:
        """The record with which each range ends."""
        return tuple(each.number for each in self.ranges)


class _Format(msgspec.Struct, frozen=True):
    format: int


def manifest_path(backup: Path) -> Path:
    """Return where a backup says what it is."""
    return backup / "cluster.json"


def part_of(backup: Path) -> Path:
    """Return where a backup is made."""
    return backup.with_name(backup.name + ".part")


def read_manifest(backup: Path) -> Manifest:
    """Return what a backup says of itself.

    Raises:
        BackupUnusable: it is none, or not whole, or of another version.
    """
    path = manifest_path(backup)
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content, type=_Format).format
        if found != FORMAT:
            raise BackupUnusable(
                f"{backup} has format {found}, but this version restores format {FORMAT}"
            )
        return msgspec.json.decode(content, type=Manifest)
    except FileNotFoundError:
        hint = ", which was not made to its end" if backup.name.endswith(".part") else ""
        raise BackupUnusable(
            f"{backup} is no backup of a cluster{hint}: there is no {path.name} in it"
        ) from None
    except OSError as error:
        raise BackupUnusable(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupUnusable(f"{path} is damaged: {error}") from None


def write_manifest(backup: Path, manifest: Manifest) -> None:
    """Say what a backup is, durably.

    Raises:
        DiskError: it cannot be written.
    """
    replace_file(manifest_path(backup), msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


def stores_of(backup: Path, manifest: Manifest) -> list[Path]:
    """Return the file of each range's store.

    Raises:
        BackupUnusable: it is not laid out as it says.
    """
    layout = layout_of(backup)
    if layout.workers != len(manifest.ranges):
        raise BackupUnusable(
            f"{backup} is laid out for {layout.workers} ranges, and says to be of"
            f" {len(manifest.ranges)}: a file of it is another backup's"
        )
    return [layout.store_directory(backup, each) / _STORE_FILE for each in range(layout.workers)]


def layout_of(backup: Path) -> Layout:
    """Return how a backup is laid out.

    Raises:
        BackupUnusable: it does not say.
    """
    try:
        return read_layout(backup)
    except BootError as error:
        raise BackupUnusable(str(error)) from None


def verify(
    backup: Path, manifest: Manifest, *, on_bytes: Callable[[int], None] = lambda size: None
) -> None:
    """Make sure that every file of a backup is as it was made; `on_bytes` hears what was read.

    Raises:
        BackupUnusable: one is missing or another; it says of which range it is.
    """
    for range_, (path, end) in enumerate(
        zip(stores_of(backup, manifest), manifest.ranges, strict=True)
    ):
        _require(path, end.sha256, f"the store of range {range_}", on_bytes)
    for key, checksum in manifest.files.items():
        if key not in PATHS:
            raise BackupUnusable(f"{backup} has {key}, which this version does not know")
        _require(PATHS[key](backup), checksum, f"the {key}", on_bytes)


def _require(path: Path, checksum: str, what: str, on_bytes: Callable[[int], None]) -> None:
    try:
        found = checksum_of(path, on_bytes=on_bytes)
    except FileNotFoundError:
        raise BackupUnusable(f"{what} is missing: {path}") from None
    except OSError as error:
        raise BackupUnusable(f"{what} cannot be read: {path}: {error.strerror}") from None
    if found != checksum:
        raise BackupUnusable(f"{what} is damaged: {path} is not what was written there")


def checksum_of(path: Path, *, on_bytes: Callable[[int], None] = lambda size: None) -> str:
    """Return the checksum of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            on_bytes(len(block))
    return digest.hexdigest()
