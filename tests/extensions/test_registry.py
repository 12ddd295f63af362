"""Which extensions are loaded, and that no two of them claim the same thing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from relay.errors import SettingsError
from relay.extensions.contract import Extension, FrontHalf, Request, TreeSpec
from relay.extensions.registry import Registry, load, tables_of
from relay.protocol.request import RequestKey
from relay.settings.rows import Table


class NoteTable(Table, frozen=True):
    pass


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
        ([extension("A b")], "an extension is named 'A b'"),
        ([extension("a", trees=(TreeSpec(name="t"), TreeSpec(name="t")))], "a names a tree twice"),
    ],
)
def test_two_owners_of_one_thing_are_found_at_once(
    extensions: list[Extension], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        Registry(extensions)
