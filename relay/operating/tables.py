"""Answers as people read them: columns, sizes, times. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


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


def size(count: float | None) -> str:
    """Return bytes as people read them: 1.5 MiB."""
    if count is None:
        return "?"
    value, unit = float(count), _UNITS[0]
    for unit in _UNITS:
        if value < 1024 or unit == _UNITS[-1]:
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


def age(seconds: float) -> str:
    """Return a time as its two largest units: 3d 4h."""
    left = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def plain(text: str) -> str:
    """Return text with what is not printable escaped: it may be of a client's making."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    return plain(f"{value:.2f}" if isinstance(value, float) else str(value))


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == "-"
