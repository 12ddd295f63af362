"""Other versions of the relay, beside this one: its code, with another number and with changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from .processes import REPOSITORY

Changes = Mapping[str, Mapping[str, str]]


def install(home: Path, version: str, changes: Changes | None = None) -> Path:
    """Copy the relay to `home`, as that version of it; return `home`.

    `changes` are by the path of a file: what is in it once, and what is to stand behind that.
    """
    for package in ("relay", "workers"):
        shutil.copytree(
            REPOSITORY / package, home / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(REPOSITORY / "supervisor.py", home)
    path = home / "relay" / "__init__.py"
    text, count = re.subn('__version__ = ".*"', f'__version__ = "{version}"', path.read_text())
    assert count == 1
    path.write_text(text)
    for name, additions in (changes or {}).items():
        path = home / name
        text = path.read_text()
        for before, added in additions.items():
            assert text.count(before) == 1, f"{name} has {before!r} {text.count(before)} times"
            text = text.replace(before, before + added)
        path.write_text(text)
    return home


def version_of(home: Path) -> str:
    """Return the number of the version that a checkout is."""
    found = re.search('__version__ = "(.*)"', (home / "relay" / "__init__.py").read_text())
    assert found is not None
    return found[1]
