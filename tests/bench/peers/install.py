"""Gets the other servers from what is at hand, into `build/peers`: nothing on the system changes.

Debian's packages are unpacked, not installed, so that none of their services starts. Whatever
cannot be had is `Absent`, with the reason in a line.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

_QUICK_S: Final = 30.0
_DOWNLOAD_S: Final = 120.0
_SYSTEM: Final = ("/usr/sbin", "/usr/local/sbin")  # where a server is that is in no user's PATH
_SOCKET_IO: Final = "4.8.1"
_HERE: Final = Path(__file__).parent


class Absent(Exception):
    """A server that cannot be had here; the message says why."""


class Program(NamedTuple):
    """Something to run, and what its environment needs besides."""

    path: Path
    environment: dict[str, str]


def debian(package: str, build: Path) -> Program:
    """Return the program of a Debian package of the same name: the system's, or unpacked here.

    Raises:
        Absent: there is neither, nor a package to be had.
    """
    found = shutil.which(package, path=os.pathsep.join((os.environ.get("PATH", ""), *_SYSTEM)))
    if found is not None:
        return Program(Path(found), {})
    root = build / "debian"
    if (program := _unpacked(root, package)) is None:
        _unpack(package, root)
        program = _unpacked(root, package)
    if program is None:
        raise Absent(f"{package} is not in the package of that name")
    libraries = sorted({str(each.parent) for each in root.glob("**/*.so.*")})
    return Program(program, {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})


def needed_packages(simulated: str) -> list[str]:
    """Return the packages that `apt-get --simulate install` says it would install."""
    return re.findall(r"^Inst (\S+) ", simulated, re.MULTILINE)


def socket_io(build: Path) -> Program:
    """Return the script of the Socket.IO server, with its packages beside it.

    Raises:
        Absent: no node, no npm, or npm cannot get it.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Absent(f"no {program} here")
    root = build / "npm"
    root.mkdir(parents=True, exist_ok=True)
    script = root / "socketio_server.mjs"
    shutil.copy(_HERE / "socketio_server.mjs", script)
    package = root / "node_modules" / "socket.io" / "package.json"
    if not package.is_file():
        wanted = {"private": True, "dependencies": {"socket.io": _SOCKET_IO}}
        (root / "package.json").write_text(json.dumps(wanted))
        flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        _run("npm", "install", "--prefix", str(root), *flags, within_s=_DOWNLOAD_S)
    return Program(script, {"NODE_ENV": "production"})


def floor(build: Path) -> Program:
    """Compile the floor.

    Raises:
        Absent: no compiler, or it fails.
    """
    source, made = _HERE / "floor.c", build / "floor"
    if not made.is_file() or made.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise Absent("no C compiler here")
        build.mkdir(parents=True, exist_ok=True)
        _run(compiler, "-O2", "-o", str(made), str(source), within_s=_QUICK_S)
    return Program(made, {})


def version_in(text: str) -> str:
    """Return the first version number in a text, or an empty string."""
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found[0] if found is not None else ""


def version_of(program: Program, *arguments: str) -> str:
    """Return the version that a program tells, or an empty string."""
    told = subprocess.run(
        [str(program.path), *arguments],
        env={**os.environ, **program.environment},
        capture_output=True,
        text=True,
        timeout=_QUICK_S,
        check=False,
    )
    return version_in(told.stdout + told.stderr)


def socket_io_version(program: Program) -> str:
    """Return the version of Socket.IO that is beside its script."""
    package = program.path.parent / "node_modules" / "socket.io" / "package.json"
    return str(json.loads(package.read_text()).get("version", ""))


def _unpack(package: str, root: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise Absent(f"no {package} here, and no apt-get to get it with")
    simulated = _run(
        *("apt-get", "--simulate", "--no-install-recommends", "install", package),
        within_s=_QUICK_S,
    )
    names = needed_packages(simulated)
    if not names:
        raise Absent(f"apt-get knows nothing to install for {package}")
    archives = root / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    _run("apt-get", "--quiet", "download", *names, within_s=_DOWNLOAD_S, cwd=archives)
    for archive in sorted(archives.glob("*.deb")):
        _run("dpkg-deb", "--extract", str(archive), str(root), within_s=_QUICK_S)


def _unpacked(root: Path, name: str) -> Path | None:
    places = (root / "usr" / "sbin" / name, root / "usr" / "bin" / name)
    return next((place for place in places if place.is_file()), None)


def _run(*command: str, within_s: float, cwd: Path | None = None) -> str:
    """Run a command and return its output; whatever it cannot do is why a server is absent."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=within_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Absent(f"{Path(command[0]).name}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["no reason given"]
        raise Absent(f"{Path(command[0]).name}: {said[-1]}")
    return done.stdout
