"""What is in the project's texts: blocks of code, which tests run and parse, prose, comments."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]

SOURCES: Final = sorted(
    path
    for pattern in ("relay/**/*.py", "workers/**/*.py", "tests/**/*.py", "*.py", "config/*")
    for path in ROOT.glob(pattern)
)
TEXTS: Final = sorted(
    str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md") for path in ROOT.glob(pattern)
)

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


def rows_of(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table behind a heading of a document, without its head."""
    _, _, behind = text.partition(f"\n## {heading}\n")
    table = re.search(r"(?:^\|.*\n)+", behind, re.MULTILINE)
    assert table is not None, heading
    _, _, *rows = table[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


_UNITS: Final = {
    "": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
    "s": 1,
    "d": 1,
    "days": 1,
}


def amount(text: str) -> float:
    """Return what a cell gives as the value of a setting: "64 KiB", "1,000", "off"."""
    number, _, unit = text.partition(" ")
    return 0 if text == "off" else float(number.replace(",", "")) * _UNITS[unit]


# --- comments and docstrings ------------------------------------------------------------------


def comments_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each comment, those of lines that follow each other as one."""
    lines: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line = token.start[0]
        if lines and line != last + 1:
            yield begin, " ".join(lines)
            lines = []
        begin, last = (begin if lines else line), line
        lines.append(token.string.lstrip("# "))
    if lines:
        yield begin, " ".join(lines)


def docstrings_of(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield getattr(node, "lineno", 1), text


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of whatever may cite the protocol."""
    source = path.read_text()
    if path.suffix == ".py":
        yield from comments_of(source)
        yield from docstrings_of(source)
    else:
        for line, text in enumerate(source.splitlines(), start=1):
            if text.startswith("#"):
                yield line, text
