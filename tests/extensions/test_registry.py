"""Which extensions are loaded, and that no two of them claim the same thing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from relay.errors import SettingsError
from relay.extensions.contract import Extension, FrontHalf, Request, Step, TreeSpec, WorkerHalf
from relay.extensions.registry import Registry, load, tables_of
from relay.protocol.request import RequestKey
from relay.settings.rows import Table


class NoteTable(Table, frozen=True):
    pass


def step(after: str) -> Step:
    return Step(after=after, judge=lambda half, send: None)


TO_WORKER = Request(decode=lambda _: None, worker_of=lambda user, _: user)


def extension(name: str, *keys: RequestKey, **more: object) -> Extension:
    requests = {key: Request(decode=lambda _: None) for key in keys}
    given = {"front": FrontHalf, "requests": requests, **more}
    return Extension(name=name, **given)  # type: ignore[arg-type]


@pytest.fixture
def own_module() -> Iterator[ModuleType]:
    """A module that an operator could name, with nothing in it yet."""
    module = ModuleType("operators_own")
    sys.modules["operators_own"] = module
    load.cache_clear()
    yield module
    del sys.modules["operators_own"]
    load.cache_clear()


def test_the_extensions_of_the_package_are_always_loaded() -> None:
    registry = load()

    assert {"keepalive", "serverinfo"} <= set(registry.extensions)
    assert registry.rows["query", "server"].owner == "serverinfo"
    assert registry.capabilities == ()


def test_a_module_that_the_settings_name_is_loaded_too(own_module: ModuleType) -> None:
    own_module.EXTENSION = extension(  # type: ignore[attr-defined]
        "notes", ("query", "notes"), grants=("notes",), settings=NoteTable
    )

    registry = load(("operators_own",))

    assert registry.rows["query", "notes"].owner == "notes"
    assert registry.capabilities == ("notes",)
    assert tables_of(["operators_own"]) == {"notes": NoteTable}


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        ("no.such_module", "cannot be imported"),
        ("operators_own", "has no EXTENSION"),
    ],
)
def test_a_module_that_is_no_extension_is_the_operators_mistake(
    own_module: ModuleType, module: str, problem: str
) -> None:
    with pytest.raises(SettingsError, match=f"the extension {module} {problem}"):
        load((module,))


def test_a_module_that_claims_what_is_anothers_is_the_operators_mistake(
    own_module: ModuleType,
) -> None:
    own_module.EXTENSION = extension("mine", ("query", "server"))  # type: ignore[attr-defined]

    with pytest.raises(SettingsError, match="mine and serverinfo claim the request"):
        load(("operators_own",))


@pytest.mark.parametrize(
    ("extensions", "problem"),
    [
        ([extension("a"), extension("a")], "two extensions are named a"),
        ([extension("a", ("q", "x")), extension("b", ("q", "x"))], "a and b claim|b and a claim"),
        ([extension("a", ("auth", "new"))], "is the core's"),
        ([extension("a", ("Msg", ""))], "is the core's"),
        ([extension("a", ("action", ""))], "is the core's"),
        ([extension("a", ("action", "relay"))], "is the core's"),
        ([extension("a", ("q", "x"), front=None)], "a has no half in the front that answers"),
        (
            [extension("a", requests={("q", "x"): TO_WORKER})],
            "a has no half in the worker that answers",
        ),
        (
            [extension("a", worker=WorkerHalf, steps=(step("sing"),))],
            "a has a step of sends after 'sing', not one of '', 'known', 'group'",
        ),
        ([extension("a", worker=WorkerHalf, steps=(step("store"),))], "after 'store', not one of"),
        ([extension("a", steps=(step("known"),))], "a has steps or trees, but no half in the"),
        ([extension("a", trees=(TreeSpec(name="t"),))], "a has steps or trees, but no half in the"),
        ([extension("a", worker=WorkerHalf, trees=(TreeSpec(name="a b"),))], "a tree named 'a b'"),
        ([extension("a", grants=("x", "x"))], "a grants 'x', which is no name or granted already"),
        ([extension("a", grants=("x",)), extension("b", grants=("x",))], "b grants 'x'"),
        ([extension("a", grants=(5,))], "a grants 5"),
        ([extension("A b")], "an extension is named 'A b'"),
        ([extension("a", trees=(TreeSpec(name="t"), TreeSpec(name="t")))], "a names a tree twice"),
    ],
)
def test_two_owners_of_one_thing_are_found_at_once(
    extensions: list[Extension], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Registry(extensions)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def", "SyntaxError: invalid syntax"),
        ("import sys\nsys.exit(3)", "SystemExit: 3"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_whatever_a_module_does_at_its_import_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, problem: str
) -> None:
    (tmp_path / "operators_bad.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    load.cache_clear()
    monkeypatch.delitem(sys.modules, "operators_bad", raising=False)

    with pytest.raises(SettingsError) as raised:
        load(("operators_bad",))

    said = str(raised.value)
    assert said.startswith(f"the extension operators_bad cannot be imported: {problem}")
    assert "\n" not in said


def test_a_key_that_is_none_is_the_operators_mistake(own_module: ModuleType) -> None:
    own_module.EXTENSION = extension("mine", 5)  # type: ignore[attr-defined, arg-type]

    with pytest.raises(SettingsError, match="the extensions do not go together"):
        load(("operators_own",))
