"""Answers as people read them: columns of plain text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return lines of columns, numbers to the right; what is None or empty is a dash."""
    cells = [[*head], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    right = [
        all(_is_number(row[column]) for row in cells[1:]) and len(cells) > 1
        for column in range(len(head))
    ]
    lines = []
    for row in cells:
        words = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(words).rstrip())
    return "\n".join(lines)


def who(silent: Mapping[str, Any]) -> str:
    """Return who could not be asked, as an answer has it."""
    host = silent.get("host", "")
    if silent["role"] == "host":
        return f"host {host}"
    return f"{silent['role']} {silent['index']}" + (f" of {host}" if host else "")


def plain(text: str) -> str:
    """Return text with what is not printable escaped: it may be of a client's making."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return plain(f"{value:.2f}" if isinstance(value, float) else str(value))


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == "-"
