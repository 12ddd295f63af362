"""What is in the project's documents: their blocks of code, which tests run and parse."""

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]

_BLOCK: Final = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: what follows its three backticks, and the lines between them."""

    language: str
    role: str
    text: str


def read(name: str) -> str:
    """Return the document at `name`, a path below the project's directory."""
    return (ROOT / name).read_text()


def blocks_in(text: str) -> list[Block]:
    """Return the blocks of a document in order."""
    return [Block(*found) for found in _BLOCK.findall(text)]


def without_blocks(text: str) -> str:
    """Return a document's prose, headings and tables."""
    return _BLOCK.sub("", text)


def only_block(text: str, language: str, *, containing: str) -> str:
    """Return the one block in that language with `containing` in it."""
    [block] = [
        block.text
        for block in blocks_in(text)
        if block.language == language and containing in block.text
    ]
    return block
