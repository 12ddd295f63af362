"""The inputs that are kept: a file a target, an input a line, compressed and in base64."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).with_name("corpus")


def kept(target: str) -> list[bytes]:
    """Return the inputs of a target."""
    lines = _path(target).read_text().splitlines()
    return [zlib.decompress(b64decode(line, validate=True)) for line in lines]


def keep(target: str, inputs: Iterable[bytes]) -> None:
    """Have these be the inputs of a target, the shortest first."""
    ordered = sorted(set(inputs), key=lambda each: (len(each), each))
    lines = [b64encode(zlib.compress(each, 9)).decode() + "\n" for each in ordered]
    _path(target).write_text("".join(lines))


def _path(target: str) -> Path:
    return DIRECTORY / f"{target}.txt"
