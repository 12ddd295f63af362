"""The rooms of the load generator: which imports which, and what comes from outside."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "relay" / "loadgen"
SOURCES = sorted(PACKAGE.rglob("*.py"))
# Each imports only from those after it.
ROOMS = ("cli", "run", "report", "traffic", "verify")
OUTSIDE = {
    *("relay.errors", "relay.interpreter", "relay.invocation"),
    *("relay.trust", "relay.handshake"),
}
PROJECT = ("relay", "supervisor", "tests", "workers")


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parents[1]).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in SOURCES}


def imports_in(source: str) -> Iterator[str]:
    """Yield the modules of the project that a source imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            wholes = [f"{node.module}.{name.name}" for name in node.names]
            names = [each if each in MODULES else str(node.module) for each in wholes]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PROJECT)


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[2] if len(parts) > 2 and parts[2] in ROOMS else ""


def wrong_imports(source: str, importer: str) -> list[str]:
    here = room_of(importer)
    found = []
    for imported in imports_in(source):
        if not imported.startswith("relay.loadgen"):
            is_right = imported in OUTSIDE
        elif not here:
            is_right = True  # __main__, which is before all rooms
        else:
            there = room_of(imported)
            is_right = there in ROOMS[ROOMS.index(here) :]
        if not is_right:
            found.append(f"{importer} imports {imported}")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_a_room_imports_only_from_those_after_it(path: Path) -> None:
    assert wrong_imports(path.read_text(), module_of(path)) == []


def test_every_module_is_in_a_room() -> None:
    flat = {path.name for path in PACKAGE.glob("*.py")}

    assert flat == {"__init__.py", "__main__.py"}
    assert {path.parent.name for path in SOURCES if path.parent != PACKAGE} == set(ROOMS)


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("relay.loadgen.verify.ledger", "from relay.loadgen.traffic.share import Share"),
        ("relay.loadgen.traffic.share", "def f():\n    import relay.loadgen.report.record"),
        ("relay.loadgen.report.table", "from relay.loadgen.run import conductor"),
        ("relay.loadgen.run.runner", "import relay.loadgen.cli.commands"),
        ("relay.loadgen.run.runner", "from relay import __version__"),
        ("relay.loadgen.verify.clientframes", "from relay.core.codec import decode"),
        ("relay.loadgen.__main__", "import relay.bus.link"),
        ("relay.loadgen.run.runner", "import workers.shard"),
    ],
)
def test_a_wrong_import_would_be_found(importer: str, source: str) -> None:
    assert wrong_imports(source, importer)


def graph(sources: dict[str, str]) -> dict[str, set[str]]:
    return {name: {*imports_in(source)} - {name} for name, source in sources.items()}


def test_no_two_files_import_each_other_and_none_does_so_for_type_checking_alone() -> None:
    sources = {module_of(path): path.read_text() for path in SOURCES}

    TopologicalSorter(graph(sources)).prepare()
    assert [name for name, source in sources.items() if "TYPE_CHECKING" in source] == []


def test_a_circle_would_be_found() -> None:
    one, other = "relay.loadgen.traffic.share", "relay.loadgen.traffic.visit"

    with pytest.raises(CycleError):
        TopologicalSorter(graph({one: f"import {other}", other: f"import {one}"})).prepare()
