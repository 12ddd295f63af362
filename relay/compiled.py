"""The compiled parts: some modules as extensions in C, made of the very source that lies here.

`setup.py` makes them, by mypyc, into `relay/native/`, with a digest of all sources beside. They
serve only while the sources still have that digest, so what is built never hides what was changed.
Else, or where one is missing or cut short, or they cannot be loaded, or RELAY_PLAIN is set in the
environment, the source serves. It is the reference: whatever the parts do otherwise is a fault of
theirs.

A program says `use` before it imports more, so this imports the standard library alone.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

from relay import __version__

# Where both packages are: a checkout, or what a wheel was installed into.
HOME: Final = Path(__file__).resolve().parents[1]
NATIVE: Final = "relay/native"
DIGEST: Final = "digest"
PLAIN: Final = "RELAY_PLAIN"
# The end of the name of what all parts are in: their own files only lead to it.
LIBRARY: Final = "__mypyc"

_PACKAGES: Final = ("relay", "workers")
_SUFFIX: Final = EXTENSION_SUFFIXES[0]  # of this Python, and of no other


def digest_of(home: Path) -> bytes:
    """Return the digest of all sources of both packages, names and contents."""
    digest = sha256()
    for package in _PACKAGES:
        for path in sorted(_sources(os.path.join(home, package))):
            with open(path, "rb") as file:
                content = file.read()
            digest.update(b"%b %d\n" % (os.fsencode(os.path.relpath(path, home)), len(content)))
            digest.update(content)
    return digest.hexdigest().encode() + b"\n"


def _sources(directory: str) -> list[str]:
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                found.append(entry.path)
            elif entry.is_dir(follow_symlinks=False) and entry.name not in (
                "__pycache__",
                "native",
            ):
                found += _sources(entry.path)
    return found


def said_of(digest: bytes, names: Iterable[str]) -> bytes:
    """Return what lies beside parts of these names, made of the sources with that digest."""
    return digest + "".join(f"{name}\n" for name in sorted(names)).encode()


def parts_in(home: Path) -> dict[str, str]:
    """Return the files of the parts that may serve, by the names of their modules.

    All that were made, or none: what was compiled to call a part must not get its source.
    """
    native = home / NATIVE
    try:
        digest, *names = (native / DIGEST).read_bytes().splitlines(keepends=True)
        if digest != digest_of(home):
            return {}
        parts = {
            name: str(native / (name.replace(".", "/") + _SUFFIX))
            for name in b"".join(names).decode().split()
        }
        return parts if all(map(_is_whole, parts.values())) else {}
    except (OSError, ValueError):
        return {}


def _is_whole(path: str) -> bool:
    """Return whether an ELF file is as long as its header says.

    One that a copy or a full disk has cut short may be mapped all the same. To load it kills the
    process then, by SIGBUS, and no `except` can help.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        size = os.fstat(file.fileno()).st_size
    if len(head) < 64 or not head.startswith(b"\x7fELF"):
        return False
    (table,) = struct.unpack_from("<Q", head, 40)  # of sections, and the last in the file
    each, count = struct.unpack_from("<HH", head, 58)
    return bool(size >= table + each * count)


class _Finder(MetaPathFinder):
    """Finds the parts before their sources are looked for."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._parts = parts

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._parts.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def use(home: Path = HOME) -> bool:
    """Have this process import the parts in place of their sources; return whether it does.

    All of them or none: it does not where the source of one was imported before.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return True
    parts = _loadable(home)
    if not parts or any(name in sys.modules for name in parts if not name.endswith(LIBRARY)):
        return False
    sys.meta_path.insert(0, _Finder(parts))
    return True


def kind(home: Path = HOME) -> str:
    """Return "compiled" where fronts and workers started here use the parts, else "plain"."""
    return "compiled" if _loadable(home) else "plain"


def version() -> str:
    """Return the line that tells which relay this is."""
    return f"relay {__version__} ({kind()})"


def _loadable(home: Path) -> dict[str, str]:
    """Return the parts, none where their library is for another machine than this."""
    if os.environ.get(PLAIN):
        return {}
    parts = parts_in(home)
    try:
        for name in parts:
            if name.endswith(LIBRARY) and name not in sys.modules:
                spec = spec_from_file_location(name, parts[name])
                assert spec is not None
                assert spec.loader is not None
                module = module_from_spec(spec)
                spec.loader.exec_module(module)
                sys.modules[name] = module
    except ImportError:
        return {}
    return parts
