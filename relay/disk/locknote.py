"""What the lock of a data directory says: which supervisor holds it, and where that one runs."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class LockNote(msgspec.Struct, frozen=True):
    """data/lock: who holds it, and the run directories that are to be removed at the end.

    The first is that of the one who holds it. Pid 0: nobody does, or that is not known.
    """

    pid: int
    run_dirs: tuple[str, ...] = ()


def read_lock_note(lock: int) -> LockNote:
    """Return what the file `lock`, a descriptor, says."""
    line, _, _ = os.pread(lock, 1 << 16, 0).partition(b"\n")
    try:
        return msgspec.json.decode(line, type=LockNote)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return LockNote(pid=0)  # new


def note_of(data: Path) -> LockNote:
    """Return what the lock of the data directory `data` says.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    lock = os.open(data / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return read_lock_note(lock)
    finally:
        os.close(lock)
