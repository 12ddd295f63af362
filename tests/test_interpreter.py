"""A Python that cannot run the relay is told so in one line, by every program."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from relay import interpreter
from relay.interpreter import PACKAGES, check_interpreter

ROOT = Path(__file__).parent.parent

PROGRAMS = {
    "supervisor.py": ["supervisor.py"],
    "relay": ["-m", "relay", "--help"],
    "relay.chat": ["-m", "relay.chat"],
    "relay.loadgen": ["-m", "relay.loadgen"],
    "workers.store": ["-m", "workers.store"],
}
# What Python compiles before check_interpreter is called.
FIRST = (
    *("supervisor.py", "relay/__init__.py", "relay/__main__.py", "relay/chat.py"),
    *(
        "relay/interpreter.py",
        "relay/signals.py",
        "relay/loadgen/__init__.py",
        "relay/loadgen/__main__.py",
    ),
    *("workers/__init__.py", "workers/store/__init__.py", "workers/store/__main__.py"),
)


def test_the_interpreter_that_runs_the_tests_will_do() -> None:
    check_interpreter()


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_the_dependencies_every_program_says_so_in_one_line(program: str) -> None:
    # -S: without site-packages; -E: without PYTHONPATH.
    done = subprocess.run(
        [sys.executable, "-S", "-E", *PROGRAMS[program]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"relay: {sys.executable} lacks pyzmq, websockets, ")
    assert "make setup" in done.stderr
    assert "pip install -e ." in done.stderr
    assert done.stderr.count("\n") == 1


def test_only_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        interpreter, "find_spec", lambda name: None if name == "zmq" else find_spec(name)
    )

    with pytest.raises(SystemExit, match=r"lacks pyzmq: run"):
        check_interpreter()


@pytest.mark.parametrize("version", [(3, 6, 8), (3, 10, 14)])
def test_an_older_python_is_told_which_it_must_be(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    spelt = ".".join(map(str, version))

    with pytest.raises(SystemExit, match=rf"^relay: Python 3\.11 or newer .* is {spelt}$"):
        check_interpreter()


@pytest.mark.parametrize("path", FIRST)
def test_what_comes_before_the_check_is_in_the_syntax_of_an_old_python(path: str) -> None:
    ast.parse((ROOT / path).read_text(), feature_version=(3, 6))


def test_the_list_of_packages_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[\w-]+", each) for each in project["dependencies"]]

    assert {name[0] for name in names if name} == set(PACKAGES.values())
    assert project["requires-python"] == f">={'.'.join(map(str, interpreter.OLDEST))}"
