"""Backups that are asked for through the API: in the one directory that the settings name.

NAME/             a whole copy, as `relay backup DIR NAME` makes it
.NAME.partial/    one that is being made, or was when everything was killed
.lock             held by the tool that makes one, whoever has started it
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Final

import msgspec

from relay.admin.tools import Done, Say, ToolFailed, Tools
from relay.disk.files import sync
from relay.disk.layout import meta_path

NAME: Final = r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}"
# The tool of an admin that has died undoes what it must before the next one begins.
_WAIT_S: Final = 30.0
_AGAIN_S: Final = 0.1


class Backup(msgspec.Struct, frozen=True):
    """One of them."""

    name: str
    made_ms: int


class Backups:
    """Those in one directory; call its methods in a thread, but for `make`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def all(self) -> list[Backup]:
        """Return those that are whole, the newest first.

        Raises:
            OSError: the directory cannot be read.
        """
        found = []
        for path in self.directory.iterdir() if self.directory.exists() else ():
            if re.fullmatch(NAME, path.name) and meta_path(path).exists():
                made_ms = int(meta_path(path).stat().st_mtime * 1000)
                found.append(Backup(path.name, made_ms))
        return sorted(found, key=lambda each: -each.made_ms)

    def path_of(self, name: str) -> Path:
        """Return where that one is, or is to be."""
        assert re.fullmatch(NAME, name), "whoever asks has checked it"
        return self.directory / name

    def is_taken(self, name: str) -> bool:
        """Tell whether something is there, be it a link to nowhere."""
        return os.path.lexists(self.path_of(name))

    async def make(self, name: str, data: Path, tools: Tools, say: Say) -> Done:
        """Copy the data directory; it has its name once it is whole.

        Raises:
            ToolFailed: there is no copy, and nothing is left of one.
            OSError: the same, the directory cannot be written.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        lock = await self._locked(say)
        try:
            await asyncio.to_thread(self._clean_up)
            partial = self.directory / f".{name}.partial"
            done = await tools.run(say, "backup", str(data), str(partial), keeps=(lock,))
            await asyncio.to_thread(self._name, partial, self.path_of(name))
        finally:
            os.close(lock)
        text = done.detail.replace(str(partial), str(self.path_of(name)))
        return msgspec.structs.replace(done, detail=text)

    async def _locked(self, say: Say) -> int:
        lock = os.open(self.directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(_WAIT_S):
                while True:
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        say("another backup is being ended")
                        await asyncio.sleep(_AGAIN_S)
                    else:
                        return lock
        except BaseException as error:
            os.close(lock)
            if isinstance(error, TimeoutError):
                raise ToolFailed("another backup is being made") from None
            raise

    def _clean_up(self) -> None:
        """Remove what was not made to its end; nobody makes one now."""
        for path in self.directory.glob(".*.partial"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:  # somebody else's doing; where a link leads to is none of ours
                path.unlink()

    def _name(self, partial: Path, path: Path) -> None:
        if self.is_taken(path.name):
            shutil.rmtree(partial)
            raise ToolFailed(f"{path} is there already")
        partial.rename(path)
        sync(self.directory)
