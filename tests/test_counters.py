"""Each counter that the sources count in has a row in docs/operating.md, and each row a counter."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from relay.front.admission import Bound

from .documents import ROOT, read

# Where what counts is a variable: its values are these.
_BOUNDS = {bound.value for bound in Bound}


def name_in(node: ast.expr) -> str | None:
    """Return the counter that an expression names, what varies as `CODE`; None: a variable."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if not isinstance(node, ast.JoinedStr):
        return None
    name = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            name += str(part.value)
        else:
            assert isinstance(part, ast.FormattedValue)
            variable = re.findall(r"[a-z]+", ast.unparse(part.value))[-1]
            name += variable.upper()
    return name


def counted_in(source: str) -> Iterator[str]:
    """Yield what a source counts: in counters, in a session's output, by an answer at a door."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=where, slice=what) if re.search(
                r"\b_?counters$", ast.unparse(where)
            ):
                name = name_in(what)
            case ast.Call(func=ast.Attribute(value=where, attr="count"), args=[what, *_]) if (
                re.search(r"\b_?out$", ast.unparse(where))
            ):
                name = name_in(what)
            case ast.Call(func=ast.Name(id="Answer" | "answer"), args=[_, _, what, *_]):
                name = name_in(what)
            case _:
                continue
        if name is not None:
            yield name


def counters_of(*folders: str) -> set[str]:
    sources = [path for folder in folders for path in sorted(ROOT.glob(f"{folder}/**/*.py"))]
    return {name for path in sources for name in counted_in(path.read_text())}


def listed(head: str) -> list[str]:
    """Return the names in the table whose first column is headed so."""
    _, _, behind = read("docs/operating.md").partition(f"\n| {head} |")
    rows = behind.partition("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip(" `") for row in rows]


@pytest.mark.parametrize(
    ("process", "folders", "besides"),
    [
        ("front", ("relay",), _BOUNDS),
        ("worker", ("workers",), set[str]()),
        ("admin", ("relay/admin",), set[str]()),
        ("engine or agent", ("relay/cluster",), set[str]()),
    ],
)
def test_each_counter_has_a_row_and_each_row_a_counter(
    process: str, folders: tuple[str, ...], besides: set[str]
) -> None:
    article = "an" if process in ("admin", "engine or agent") else "a"
    rows = listed(f"counter of {article} {process}")

    counted = counters_of(*folders)
    if process == "front":
        counted -= counters_of("relay/admin", "relay/cluster")
    assert set(rows) == counted | besides
    assert len(rows) == len(set(rows))


def test_every_way_to_count_is_found() -> None:
    source = """
self._hub.counters["a"] += 1
turn.counters[f"b_{code}"] += 1
self._unlogged["no"] += 1
self.out.count("c", 2)
self.out.count(f"d_{refusal.code}")
self._counters[f"{self._name}.{what}"] += 1
ANSWER = Answer(431, "Too Large", "e")
counters[answer.counter] += 1
"""

    assert sorted(counted_in(source)) == ["NAME.WHAT", "a", "b_CODE", "c", "d_CODE", "e"]
