"""The two trees of code: checked out, with what they need to run, and removed afterwards."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement

from tests.bench.generator import environment

HERE: Final = Path(__file__).resolve().parents[3]
_GIT_WITHIN_S: Final = 60.0
_HELP_WITHIN_S: Final = 60.0
_INSTALL_WITHIN_S: Final = 300.0
# A user of a load stands for many, so the quota of one author is lifted where a tree has it.
_ANY_RATE: Final = ("--messages-per-s", "1000000")
_EXTRA: Final = "load"


class CannotCompare(Exception):
    """One of the two cannot be had: no such commit, or what it needs cannot be installed."""


class Tree(NamedTuple):
    """Code to run. `name` is A or B."""

    name: str
    commit: str  # short, "+" where the tree was changed since
    when: int  # of the commit, Unix time
    directory: Path
    python: Path
    options: tuple[str, ...]  # of its supervisor.py, besides those of a row
    is_compiled: bool = False  # its relays run compiled parts, which lie in the directory


@contextmanager
def trees(specs: Sequence[str], scratch: Path, compiled: str = "") -> Iterator[tuple[Tree, Tree]]:
    """Provide A and B: commits in checkouts below `scratch`, directories where they are.

    The names of the checkouts are of one length: what a path's length moves is the same for both.
    Those named in `compiled` get compiled parts, also where a directory is not ours.

    Raises:
        CannotCompare: there is no such commit, or what it needs cannot be installed or compiled.
    """
    checkouts: list[Path] = []
    try:
        made = []
        for name, spec in zip("AB", specs, strict=True):
            if Path(spec).is_dir():
                directory = Path(spec).resolve()
                if not (directory / "supervisor.py").is_file():
                    raise CannotCompare(f"{name}={spec}: a directory without supervisor.py")
            else:
                directory = scratch / f"tree-{name.lower()}"
                commit = _git("rev-parse", "--verify", "--quiet", f"{spec}^{{commit}}")
                if not commit:
                    raise CannotCompare(f"{name}={spec}: no such commit or directory")
                # A hook of the repository is not for what is thrown away.
                checkouts.append(directory)
                _git(
                    *("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach"),
                    *(str(directory), commit),
                    must=True,
                )
            made.append(_tree(name, directory, scratch, is_compiled=name in compiled))
        yield made[0], made[1]
    finally:
        for directory in checkouts:
            _git("worktree", "remove", "--force", str(directory))


def loaded_by(two: tuple[Tree, Tree], wish: str = "") -> Tree:
    """Return the tree whose generator loads both: of the later commit, or the one wished for.

    A later generator knows every earlier relay; whether the reverse holds nobody tries.
    """
    by_name = {tree.name: tree for tree in two}
    return by_name[wish] if wish else max(two, key=lambda tree: tree.when)


def needs(directory: Path, extra: str = "") -> list[str]:
    """Return the requirements in a tree's pyproject.toml, and those of an extra."""
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    found = [*project.get("dependencies", ())]
    if extra:
        found += project.get("optional-dependencies", {}).get(extra, ())
    return [str(each) for each in found]


def unmet(requirements: Sequence[str]) -> list[str]:
    """Return those that the packages beside this Python do not meet."""
    missing = []
    for text in requirements:
        try:
            need = Requirement(text)
            if need.marker is not None and not need.marker.evaluate():
                continue
            if not need.specifier.contains(version(need.name), prereleases=True):
                missing.append(text)
        except (InvalidRequirement, PackageNotFoundError):
            missing.append(text)
    return missing


def options_of(help_text: str) -> tuple[str, ...]:
    """Return what a row's relay gets besides its own options, of those that `--help` lists."""
    return _ANY_RATE if re.search(rf"^\s*{_ANY_RATE[0]}\b", help_text, re.MULTILINE) else ()


def _tree(name: str, directory: Path, scratch: Path, *, is_compiled: bool) -> Tree:
    python = _python_for(name, directory, scratch)
    if is_compiled:
        _compile(name, directory, python)
    told = subprocess.run(
        [str(python), str(directory / "supervisor.py"), "--help"],
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=_HELP_WITHIN_S,
        check=False,
    )
    if told.returncode != 0:
        last = (told.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CannotCompare(f"{name}: supervisor.py --help failed: {last}")
    where = ("-C", str(directory))
    commit = _git(*where, "describe", "--always", "--dirty=+", "--exclude=*")
    when = _git(*where, "log", "-1", "--format=%ct")
    return Tree(
        name=name,
        commit=commit or "unknown",
        when=int(when or 0),
        directory=directory,
        python=python,
        options=options_of(told.stdout),
        is_compiled=is_compiled,
    )


def _python_for(name: str, directory: Path, scratch: Path) -> Path:
    """Return a Python that has what the tree needs: this one, or one that is set up for it."""
    requirements = needs(directory, _EXTRA)
    if not (missing := unmet(requirements)):
        return Path(sys.executable)
    key = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    made = scratch / f"venv-{key}"
    python = made / "bin" / "python"
    if python.exists():
        return python  # the other tree's, which needs the same
    try:
        for command in (
            [sys.executable, "-m", "venv", str(made)],
            [str(python), "-m", "pip", "install", "--quiet", "--prefer-binary", *requirements],
        ):
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S
            )
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(made, ignore_errors=True)
        said = getattr(error, "stderr", None) or str(error)
        raise CannotCompare(
            f"{name} needs {', '.join(missing)}, which cannot be installed: "
            f"{str(said).strip().splitlines()[-1]}"
        ) from error
    return python


def _compile(name: str, directory: Path, python: Path) -> None:
    built = subprocess.run(
        [str(python), "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=directory,
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=_INSTALL_WITHIN_S,
        check=False,
    )
    if built.returncode != 0:
        last = (built.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CannotCompare(f"{name} cannot be compiled: {last}")


def _git(*arguments: str, must: bool = False) -> str:
    """Return what git says, or an empty string where it fails and need not succeed."""
    try:
        told = subprocess.run(
            ["git", *arguments],
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=_GIT_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompare(f"git {arguments[0]}: {error}") from error
    if told.returncode != 0:
        if must:
            raise CannotCompare(f"git: {told.stderr.strip()}")
        return ""
    return told.stdout.strip()
