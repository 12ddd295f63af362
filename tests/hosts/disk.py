"""A disk of its own, which can lose its power: what was not synced is gone."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path
from struct import pack
from typing import Final

from .network import HostsUnavailable, attempt, run

# EXT4_IOC_SHUTDOWN of linux/ext4.h; 2 is EXT4_GOING_FLAGS_NOLOGFLUSH: what the file system has not
# written is lost, with its own log of it.
_SHUTDOWN: Final = 0x8004587D
_LOSE_ALL: Final = pack("I", 2)
_SIZE: Final = 4 << 30  # a sparse file
_BLOCK: Final = 4096
_BUSY_S: Final = 15.0


class Disk:
    """An ext4 on a loop device, mounted at `path`; as a context manager it is gone in the end."""

    def __init__(self, directory: Path, *, size: int = _SIZE) -> None:
        """Keep its image of `size` bytes in `directory`, and mount it there."""
        self.path = directory / "disk"
        self._image = directory / "image"
        self._size = size

    def __enter__(self) -> Disk:
        """Make it.

        Raises:
            HostsUnavailable: that cannot be here.
        """
        if shutil.which("mkfs.ext4") is None:
            raise HostsUnavailable("there is no `mkfs.ext4` here")
        self.path.mkdir(parents=True)
        with self._image.open("wb") as image:
            image.truncate(self._size)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,nodiscard", str(self._image))
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        attempt("umount", "--lazy", str(self.path))
        self._image.unlink(missing_ok=True)

    def mount(self) -> None:
        """Mount it, as at the boot of the host.

        Raises:
            HostsUnavailable: that cannot be here.
        """
        run("mount", "-o", "loop", str(self._image), str(self.path))

    def fill(self, *, leave: int = 0) -> None:
        """Have nothing free but `leave` bytes, not even for root, until `empty`.

        Called again it takes what has become free since.
        """
        with (self.path / "filler").open("ab") as file:
            size, step = file.tell(), _SIZE
            while step >= _BLOCK:
                disk = os.statvfs(self.path)
                free = disk.f_bfree * disk.f_frsize - leave
                if free < _BLOCK:
                    return
                try:
                    os.posix_fallocate(file.fileno(), size, min(step, free))
                    size += min(step, free)
                except OSError:
                    step = min(step, free) // 2  # some of it the file system needs itself

    def empty(self) -> None:
        """Give back what `fill` took."""
        (self.path / "filler").unlink()

    def lose_power(self) -> None:
        """Lose what was not synced; from then on every access fails, until `mount` again."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _LOSE_ALL)
        except OSError as error:
            raise HostsUnavailable(f"ext4 cannot be shut down: {error.strerror}") from None
        finally:
            os.close(descriptor)

    def unmount(self) -> None:
        """Let it go, once no process uses it: who was killed may still have to end.

        Raises:
            HostsUnavailable: one still does.
        """
        ends_s = time.monotonic() + _BUSY_S
        while True:
            try:
                run("umount", str(self.path))
                return
            except HostsUnavailable:
                if time.monotonic() > ends_s:
                    raise
            time.sleep(0.1)

    def users(self) -> str:
        """Return who uses it, for whoever wonders why it cannot be unmounted."""
        done = subprocess.run(["fuser", "-vm", str(self.path)], capture_output=True, text=True)
        return done.stdout + done.stderr
