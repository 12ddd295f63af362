"""Files that must be there after a crash: replaced whole, synced, locked."""

import fcntl
import os
import stat
import time
from pathlib import Path

from relay.errors import BootError, DiskError


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`, durably; a reader or a crash sees the old file or the new one whole.

    Raises:
        DiskError: the directory cannot be written; the old file stands.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        # Not waited for, as a fifo waits for who reads it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(temporary, flags, 0o666)
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)  # on a full disk it would take what is left
            raise
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}") from None


def sync(path: Path) -> None:
    """Have the kernel write a file, or the names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_private_directory(path: Path) -> bool:
    """Tell whether there is a directory of this very user, which nobody else can write to."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


_LOCK_RETRY_S = 0.02


def take_lock(path: Path, *, wait_s: float) -> int:
    """Lock the file at `path`, which is made if missing; return its descriptor, which holds it.

    Raises:
        BootError: another process has it all that time.
        OSError: it cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(_LOCK_RETRY_S)
                continue
            os.close(descriptor)
            raise BootError(f"{path.parent} is in use by another process") from None
        return descriptor


def free_bytes(directory: Path) -> int:
    """Return how much the disk of `directory` has left for whoever is not root.

    Raises:
        OSError: it cannot be asked.
    """
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize
