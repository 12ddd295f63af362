"""The compiled parts in a wheel: they serve, and say the same as their source of the same input."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZipFile

import pytest

from relay.compiled import NATIVE, PLAIN
from tests.compiled.rules import MODULES, has_compiler

ROOT: Final = Path(__file__).parents[2]
WITHIN_S: Final = 1200.0  # half a minute of processor time, on a machine that has other work too
SEEDS: Final = (1, 2, 3, None)  # None: one of its own, which a failure names
INPUTS: Final = 6000

BUILD: Final = "from setuptools import build_meta; build_meta.build_wheel('wheels')"
SOURCES: Final = (
    "relay",
    "workers",
    "config",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)

# Whose floats are times of a clock, and stay in the process; or times of clients, which leave as
# whole seconds; or parts of a quota, which are floats in the store as well. What is an int or a
# float is declared so: of a bare `float` mypyc makes one, and then 1 is told to clients as 1.0.
WITH_FLOATS: Final = {
    "relay/front/connection.py",
    "relay/front/links.py",
    "relay/protocol/times.py",
    "workers/shard/waiting.py",
}

pytestmark = [
    pytest.mark.ordeal,
    pytest.mark.skipif(not has_compiler(), reason="no compiler is at hand"),
    pytest.mark.timeout(1500),
]


class Built(NamedTuple):
    source: Path
    wheel: Path
    installed: Path


def ran(command: Sequence[str], home: Path, **more: str) -> str:
    """Return what a program says with the relay at `home`; tests are those of this checkout."""
    environment = {key: value for key, value in os.environ.items() if key != PLAIN}
    done = subprocess.run(
        command,
        cwd=home,
        env=environment | {"PYTHONPATH": f"{home}{os.pathsep}{ROOT}"} | more,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    return done.stdout


def wheel_of(source: Path, **more: str) -> Path:
    """Build a wheel from a copy of this checkout's sources, as installers do."""
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            leave = shutil.ignore_patterns("__pycache__", "native", "dist")
            shutil.copytree(path, source / name, symlinks=True, ignore=leave)
        else:
            shutil.copy(path, source)
    ran([sys.executable, "-c", BUILD], source, **more)
    (wheel,) = (source / "wheels").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = tmp_path_factory.mktemp("compiled")
    wheel = wheel_of(directory / "source")
    with ZipFile(wheel) as archive:
        archive.extractall(directory / "installed")
    return Built(directory / "source", wheel, directory / "installed")


def version(home: Path, **more: str) -> str:
    return ran([sys.executable, "-m", "relay", "--version"], home, **more)


def test_a_wheel_that_was_built_where_a_compiler_is_has_them_and_says_so(built: Built) -> None:
    assert "linux" in built.wheel.name
    assert version(built.installed).endswith(" (compiled)\n")
    assert version(built.installed, **{PLAIN: "1"}).endswith(" (plain)\n")


def test_all_modules_that_are_to_be_compiled_come_from_the_parts(built: Built) -> None:
    names = [module.removesuffix(".py").replace("/", ".") for module in MODULES]
    program = (
        "import importlib, sys; from relay import compiled; assert compiled.use();"
        "print(*[importlib.import_module(name).__file__ for name in sys.argv[1:]], sep='\\n')"
    )

    files = ran([sys.executable, "-c", program, *names], built.installed).split()

    assert len(files) == len(names)
    assert all(file.startswith(str(built.installed / NATIVE)) for file in files), files


@pytest.mark.parametrize("seed", SEEDS)
def test_they_say_the_same_as_their_source_of_the_same_input(
    built: Built, seed: int | None
) -> None:
    seed = random.randrange(1 << 30) if seed is None else seed
    differ = [sys.executable, "-m", "tests.compiled.differ", str(seed), str(INPUTS)]

    first, *parts = ran(differ, built.installed).splitlines()
    reference, *source = ran(differ, built.installed, **{PLAIN: "1"}).splitlines()

    assert (first, reference) == ("compiled", "plain")
    assert len(source) > 3 * INPUTS
    for ours, theirs in zip(parts, source, strict=True):
        assert ours == theirs, f"of seed {seed}"


def test_none_makes_a_float_of_what_may_be_an_int(built: Built) -> None:
    """In C a float that leaves for Python is made by one function."""
    makers = set()
    for module in MODULES:
        name = module.removesuffix(".py").replace("/", "___")
        text = (built.source / "build" / "compiled" / f"__native_{name}.c").read_text()
        if re.search(r"\bPyFloat_FromDouble\(", text):
            makers.add(module)

    assert makers <= WITH_FLOATS


def test_a_fault_in_one_names_its_file_and_line(built: Built) -> None:
    program = (
        "from relay import compiled; assert compiled.use()\n"
        "import traceback; from relay.protocol import jid\n"
        "try:\n    jid.chat_in(None)\n"
        "except Exception:\n    traceback.print_exc(file=__import__('sys').stdout)\n"
    )

    assert re.search(
        r'File "relay/protocol/jid.py", line \d+, in chat_in',
        ran([sys.executable, "-c", program], built.installed),
    )


@pytest.mark.parametrize(
    "compiler", ["no-such-compiler", "false"], ids=["there is none", "it fails"]
)
def test_without_a_compiler_they_are_left_out_without_a_word(tmp_path: Path, compiler: str) -> None:
    wheel = wheel_of(tmp_path / "source", CC=compiler)

    with ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.startswith(NATIVE)]
        archive.extractall(tmp_path / "installed")
    assert version(tmp_path / "installed").endswith(" (plain)\n")


def test_a_module_that_is_no_more_is_left_out_by_the_next_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    wheel_of(source, **{PLAIN: "1"}).unlink()
    (source / "build" / "lib" / "relay" / "gone.py").touch()

    ran([sys.executable, "-c", BUILD], source, **{PLAIN: "1"})

    (wheel,) = (source / "wheels").glob("*.whl")
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "relay/compiled.py" in names
    assert "relay/gone.py" not in names
