"""Tables as these tools print them: Markdown, with columns that line up in a terminal as well."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """Return the lines of a table; the first `texts` columns are texts, the others numbers."""
    for row in rows:
        assert len(row) == len(head), (head, row)
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        filled = (
            cell.ljust(width) if n < texts else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(filled)} |"

    rules = ["-" * (width - 1) + ("-" if n < texts else ":") for n, width in enumerate(widths)]
    return "\n".join([line(head), line(rules), *map(line, rows)]) + "\n"


def number(value: float) -> str:
    """Return a figure with three digits that count: 0.123, 1.23, 12.3, 123, 1,234."""
    if value != value:
        return "-"
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.3f}" if value else "0"
