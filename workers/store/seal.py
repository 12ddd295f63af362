"""How an orderly stop left the journal's files, written beside them.

After a power cut the last record may be cut short, and was never acked. After an orderly stop it
may not: whatever then differs was damaged since. So a stop notes what the files are, and a start
compares them before it takes the note away and writes. A note of files that were written since, as
by a version that knows of no such notes, says nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from relay.disk.files import replace_file, sync
from relay.errors import StoreDamaged

SEAL_NAME: Final = "sealed.json"

_CHUNK: Final = 1024 * 1024


class _Part(msgspec.Struct, frozen=True):
    name: str
    size: int
    checksum: int


class _Seal(msgspec.Struct, frozen=True):
    """The files of the journal `identity`, whose last record has the number `last`."""

    identity: str
    last: int
    parts: list[_Part]


def seal(directory: Path, names: tuple[str, ...], *, identity: bytes, last: int) -> None:
    """Note what the files `names` are, which nobody writes any more.

    Raises:
        DiskError, OSError: it cannot be noted; the next start takes the stop for a kill.
    """
    parts = [_look_at(directory / name) for name in names]
    note = _Seal(identity.hex(), last, parts)
    replace_file(directory / SEAL_NAME, msgspec.json.encode(note))


def check_seal(directory: Path, *, identity: bytes, last: int, folded: int) -> None:
    """Make sure that the files are as an orderly stop left them, if one did.

    `last` is the number of the last record that can be read, `folded` that up to which all are in
    the pages.

    Raises:
        StoreDamaged: they are not.
        OSError: they cannot be read.
    """
    note = _read(directory)
    if note is None or note.identity != identity.hex() or last > note.last:
        return
    for part in note.parts:
        if _look_at(directory / part.name) != part:
            if _read(directory) != note:
                return  # its worker has just begun
            raise StoreDamaged(
                f"{part.name} was changed since an orderly stop: {_loss(note.last, last, folded)}"
            )


def _loss(sealed: int, last: int, folded: int) -> str:
    if folded >= sealed or last >= sealed:
        return f"no record of it is lost, and without {SEAL_NAME} it starts"
    return (
        f"its records from {last + 1} to {sealed} cannot be read, and what they say was acked;"
        f" without {SEAL_NAME} it starts without them"
    )


def break_seal(directory: Path) -> None:
    """Take the note away, if there is one: the files are going to be written.

    Raises:
        OSError: it cannot be.
    """
    try:
        (directory / SEAL_NAME).unlink()
    except FileNotFoundError:
        return
    sync(directory)


def _read(directory: Path) -> _Seal | None:
    try:
        return msgspec.json.decode((directory / SEAL_NAME).read_bytes(), type=_Seal)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"{SEAL_NAME} is damaged: {error}") from None


def _look_at(path: Path) -> _Part:
    size = checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = crc32(chunk, checksum)
            size += len(chunk)
    return _Part(path.name, size, checksum)
