"""Compiled parts serve only where they are of the very source, and can be loaded."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from relay import __version__, compiled
from relay.compiled import DIGEST, LIBRARY, NATIVE, digest_of, parts_in, said_of
from tests.compiled.rules import MODULES, lost_in

SUFFIX = EXTENSION_SUFFIXES[0]
PARTS = ("relay.one", "relay.room.two", "abc__mypyc")
# The header of a library that is as long as it says, with a table of one section, and no library.
LIBRARY_BYTES = b"\x7fELF".ljust(40, b"\0") + struct.pack("<Q10xHHH", 64, 64, 1, 0) + bytes(64)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A small relay with parts: none of them is one that could be loaded."""
    for name in ("relay/one.py", "relay/room/two.py", "workers/three.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    shutil.copy(compiled.__file__, tmp_path / "relay")
    (tmp_path / "relay" / "__init__.py").write_text(f'__version__ = "{__version__}"\n')
    for name in PARTS:
        path = tmp_path / NATIVE / f"{name.replace('.', '/')}{SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LIBRARY_BYTES)
    (tmp_path / NATIVE / DIGEST).write_bytes(said_of(digest_of(tmp_path), PARTS))
    return tmp_path


def test_parts_of_the_very_source_serve_by_the_names_of_their_modules(home: Path) -> None:
    assert parts_in(home) == {
        "relay.one": str(home / NATIVE / f"relay/one{SUFFIX}"),
        "relay.room.two": str(home / NATIVE / f"relay/room/two{SUFFIX}"),
        "abc__mypyc": str(home / NATIVE / f"abc__mypyc{SUFFIX}"),
    }


@pytest.mark.parametrize("change", ["changed", "added", "removed", "renamed"])
def test_none_serves_once_any_source_is_another(home: Path, change: str) -> None:
    source = home / "workers" / "three.py"
    match change:
        case "changed":
            source.write_text("# workers/three.py \n")
        case "added":
            source.with_name("four.py").touch()
        case "removed":
            source.unlink()
        case "renamed":
            source.rename(source.with_name("four.py"))

    assert parts_in(home) == {}


def test_what_is_not_source_changes_nothing(home: Path) -> None:
    (home / "relay" / "page.html").touch()
    (home / "relay" / "__pycache__").mkdir()
    (home / "relay" / "__pycache__" / "one.py").touch()

    assert parts_in(home)


def test_parts_of_another_python_do_not_serve(home: Path) -> None:
    for path in (home / NATIVE).rglob(f"*{SUFFIX}"):
        path.rename(str(path).replace(SUFFIX, ".cpython-38-x86_64-linux-gnu.so"))

    assert parts_in(home) == {}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("length", [None, 0, 63, 64, len(LIBRARY_BYTES) - 1])
def test_none_serves_where_one_is_missing_or_cut_short(
    home: Path, name: str, length: int | None
) -> None:
    path = Path(parts_in(home)[name])
    if length is None:
        path.unlink()
    else:
        path.write_bytes(LIBRARY_BYTES[:length])

    assert parts_in(home) == {}


@pytest.mark.parametrize("said", [b"", b"\n", bytes(range(256)), None], ids=repr)
def test_none_serves_where_the_digest_is_none(home: Path, said: bytes | None) -> None:
    digest = home / NATIVE / DIGEST
    if said is None:
        digest.unlink()
        digest.mkdir()
    else:
        digest.write_bytes(said)

    assert parts_in(home) == {}


def test_a_source_may_have_any_name(home: Path) -> None:
    Path(os.fsdecode(os.fsencode(home / "relay") + b"/\xff.py")).touch()

    assert digest_of(home)


def test_where_none_were_built_none_serve(home: Path) -> None:
    shutil.rmtree(home / NATIVE)

    assert parts_in(home) == {}


def used(home: Path, **environment: str) -> str:
    program = "from relay import compiled; print(compiled.use()); import relay.one"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_parts_that_cannot_be_loaded_are_left_out_without_a_word(home: Path) -> None:
    assert used(home) == "False"


def test_where_the_source_of_one_was_imported_none_serves(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(compiled.PLAIN, raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setitem(sys.modules, f"abc{LIBRARY}", sys)
    assert compiled.use(home)

    monkeypatch.setattr(sys, "meta_path", sys.meta_path[1:])
    monkeypatch.setitem(sys.modules, "relay.one", sys)
    assert not compiled.use(home)


def test_who_wants_the_source_to_serve_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"abc{LIBRARY}", sys)
    monkeypatch.delenv(compiled.PLAIN, raising=False)
    assert compiled.kind(home) == "compiled"

    monkeypatch.setenv(compiled.PLAIN, "1")
    assert compiled.kind(home) == "plain"


# -- what may be compiled -------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_no_module_that_is_compiled_has_a_class_that_mypyc_would_change(module: str) -> None:
    assert lost_in((ROOT / module).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "class Lost(msgspec.Struct, frozen=True): pass",
        "class Lost(Struct): pass",
        "def f():\n    class Lost(Base, tag='lost'): pass",
        "class Lost(metaclass=Meta): pass",
    ],
)
def test_a_class_whose_keywords_would_be_lost_is_seen(source: str) -> None:
    assert lost_in(source) == ["Lost"]
    assert lost_in("class Kept(NamedTuple):\n    value: int") == []
