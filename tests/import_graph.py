"""Which room imports which, as the sources have it: `python -m tests.import_graph`.

A line a room, each below those that it may import. An arrow that points up, by ARROWS in
test_architecture, is marked with `!` and named at the end; the exit code is then 1.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from .test_architecture import (
    ARROWS,
    ENTRIES,
    SOURCES,
    imports_in,
    module_of,
    room_of,
    wrong_arrows,
)

_OURS: Final = ("relay", "workers", "supervisor", "tests")


def graph_of(sources: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return what each room imports of the others, of pairs of a module's name and its source."""
    graph: dict[str, set[str]] = {}
    for module, source in sources:
        imported = {
            room_of(each.imported)
            for each in imports_in(source, module)
            if each.imported.split(".")[0] in _OURS
        }
        here = room_of(module)
        graph.setdefault(here, set()).update(imported - {here} - ENTRIES.get(module, frozenset()))
    return graph


def lines_of(graph: dict[str, set[str]]) -> Iterator[str]:
    """Yield a line a room."""
    width = max(map(len, graph))
    for room in sorted(graph, key=_height):
        targets = [
            target if target in ARROWS.get(room, ()) else f"!{target}"
            for target in sorted(graph[room], key=_height)
        ]
        yield f"{room:{width}} -> {', '.join(targets)}" if targets else room


def _height(room: str) -> tuple[int, str]:
    """Order rooms so that each comes after all that it may import."""
    below: set[str] = set()
    left = [room]
    while left:
        new = ARROWS.get(left.pop(), frozenset()) - below
        below |= new
        left += new
    return len(below), room


def main() -> int:
    sources = [(module_of(path), path.read_text()) for path in SOURCES]
    sys.stdout.writelines(f"{line}\n" for line in lines_of(graph_of(sources)))
    wrong = [str(each) for module, source in sources for each in wrong_arrows(source, module)]
    sys.stderr.writelines(f"points up: {each}\n" for each in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
