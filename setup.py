"""Builds the compiled parts (relay/compiled.py) where a compiler is at hand.

All else that is to be said of the project is in pyproject.toml. `make compiled` builds them into a
checkout; installing builds them into what is installed, but not with `pip install -e`: who changes
the source gets no use of them. Where there is no compiler, or it fails, they are left out without
a word, and so they are where RELAY_PLAIN is set.
"""

from __future__ import annotations

import ast
import fcntl
import os
import platform
import shlex
import shutil
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any, Final

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE: Final = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # installers do not

from relay.compiled import DIGEST, NATIVE, PLAIN, digest_of, parts_in, said_of  # noqa: E402

# What is run for each message, and no more than brings most. CONTRIBUTING.md has the rules for it.
MODULES: Final = (
    "relay/protocol/codec.py",
    "relay/protocol/frames.py",
    "relay/protocol/jid.py",
    "relay/protocol/nesting.py",
    "relay/protocol/plain.py",
    "relay/protocol/times.py",
    "relay/bus/link.py",
    "relay/front/answers.py",
    "relay/front/connection.py",
    "relay/front/dispatch.py",
    "relay/front/links.py",
    "relay/front/session.py",
    "relay/front/work.py",
    "workers/links.py",
    "workers/shard/mailbox.py",
    "workers/shard/plain.py",
    "workers/shard/readers.py",
    "workers/shard/receipts.py",
    "workers/shard/sends.py",
    "workers/shard/shard.py",
    "workers/shard/turn.py",
    "workers/shard/waiting.py",
    "workers/store/batch.py",
    "workers/store/keys.py",
    "workers/store/tree.py",
)
# What is needed for it: mypyc is in mypy, and types in these modules are of the others.
NEEDED: Final = ("mypy", "msgspec", "pyzmq")

WORK: Final = "build/compiled"


def lost_in(source: str) -> list[str]:
    """Return the classes of a module that mypyc would compile, but not as they were asked for.

    It drops the keywords of a class, as in `class Seen(msgspec.Struct, frozen=True)`, and says
    nothing.
    """
    return [
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and (node.keywords or any("Struct" in ast.unparse(base) for base in node.bases))
    ]


def has_compiler() -> bool:
    """Return whether C can be compiled here for this Python, and mypyc makes such."""
    if sys.implementation.name != "cpython":
        return False
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return False  # nobody has tried
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    header = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which(compiler) is not None and header.is_file()


def needed() -> list[str]:
    """Return what has to be installed to build the parts, as pyproject.toml has it."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    every = project["dependencies"] + project["optional-dependencies"]["dev"]
    return [each for each in every if each.startswith(tuple(f"{name}>" for name in NEEDED))]


def extensions() -> list[Extension]:
    """Return the parts, in C.

    Raises:
        ValueError: a module is none that may be compiled.
    """
    # Here, because where nothing is compiled there is no mypy.
    from mypyc.build import mypycify

    for module in MODULES:
        if lost := lost_in((HERE / module).read_text()):
            raise ValueError(f"{module}: mypyc would lose how {', '.join(lost)} was asked for")
    found: list[Extension] = mypycify(
        ["--config-file=", "--ignore-missing-imports", f"--cache-dir={WORK}/mypy", *MODULES],
        target_dir=WORK,
        opt_level="2",
        debug_level="0",
        multi_file=True,  # by far less memory for the compiler
    )
    for extension in found:
        extension.name = f"{NATIVE.replace('/', '.')}.{extension.name}"
    return found


class BuildSources(build_py):
    """Copies the sources to where they are packed, and nothing that is left of an older build.

    A module that is no more would be installed too, and then the parts were of other sources.
    """

    def run(self) -> None:
        """Copy them, into directories that are not there."""
        if not self.editable_mode:
            for package in ("relay", "workers"):
                shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()


class BuildParts(build_ext):
    """Builds all parts or none, and says of which source they are."""

    digest = b""

    def run(self) -> None:
        """Build them, and leave nothing where that fails."""
        if self.editable_mode or not self.extensions:
            return
        self.force = True  # what an end in the middle has left in build/ looks like done
        inplace = self.inplace  # which it turns off while it builds
        native = (HERE if inplace else Path(self.build_lib)) / NATIVE
        shutil.rmtree(native, ignore_errors=True)
        for extension in self.extensions:
            Path(self.get_ext_fullpath(extension.name)).parent.mkdir(parents=True, exist_ok=True)
        try:
            super().run()
        except Exception:
            shutil.rmtree(native, ignore_errors=True)
            if inplace:
                raise  # `make compiled` asked for it
            return
        within = f"{NATIVE.replace('/', '.')}."
        names = [extension.name.removeprefix(within) for extension in self.extensions]
        (native / DIGEST).write_bytes(said_of(self.digest, names))


def made(directory: Path) -> Path:
    """Return a directory that is there."""
    directory.mkdir(exist_ok=True)
    return directory


def main() -> None:
    """Build what is asked for."""
    more: dict[str, Any] = {}
    if has_compiler() and not os.environ.get(PLAIN):
        if "egg_info" in sys.argv:  # an installer asks what building will need
            more["setup_requires"] = needed()
        elif "--inplace" in sys.argv and parts_in(HERE):
            pass  # they are of this very source
        elif {"build_ext", "bdist_wheel", "install"} & set(sys.argv):
            try:
                lock = os.open(made(HERE / "build") / "lock", os.O_CREAT | os.O_RDWR)
                fcntl.flock(lock, fcntl.LOCK_EX)  # until this process ends
                # Before they are read: what changes meanwhile must not pass for compiled.
                BuildParts.digest = digest_of(HERE)
                if "--inplace" not in sys.argv or not parts_in(HERE):  # another has just made them
                    more["ext_modules"] = extensions()
            except (Exception, SystemExit):
                if "--inplace" in sys.argv:
                    raise
    setup(cmdclass={"build_py": BuildSources, "build_ext": BuildParts}, **more)


if __name__ == "__main__":
    main()
