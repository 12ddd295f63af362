"""The wheel: what is in it, and that the commands work where it alone is installed.

It is built twice, from a copy of the checkout and from the source archive, without the network. The
fresh environment has it and, by a path file, the dependencies of the one that runs the tests.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import HeaderParser
from pathlib import Path
from typing import Final, NamedTuple
from zipfile import ZipFile

import pytest

from relay import __version__

ROOT: Final = Path(__file__).parent.parent
DEADLINE_S: Final = 30.0

# What building leaves in a checkout or finds there, and what git keeps for itself.
NO_SOURCES: Final = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "data", "dist", "native", "tests"
)
BUILD: Final = """
import sys
from setuptools import build_meta
getattr(build_meta, sys.argv[1])(sys.argv[2])
"""

pytestmark = pytest.mark.ordeal


class Built(NamedTuple):
    wheel: Path
    sdist: Path
    wheel_of_sdist: Path


def build(what: str, source: Path, to: Path) -> Path:
    to.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(to)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Package would be ignored" not in done.stderr
    (built,) = to.iterdir()
    return built


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = tmp_path_factory.mktemp("built")
    source = directory / "source"
    shutil.copytree(ROOT, source, ignore=NO_SOURCES, symlinks=True)
    sdist = build("build_sdist", source, directory / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory / "unpacked", filter="data")
    (unpacked,) = (directory / "unpacked").iterdir()
    return Built(
        wheel=build("build_wheel", source, directory / "wheel"),
        sdist=sdist,
        wheel_of_sdist=build("build_wheel", unpacked, directory / "wheel-of-sdist"),
    )


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and its dependencies."""
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", str(built.wheel)),
            *("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"),
        ],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    (packages,) = (environment / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return environment / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """An empty directory to run commands in."""
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    return directory


def run(program: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@contextmanager
def serving(program: Path, *arguments: str, cwd: Path) -> Iterator[str]:
    """Run `relay serve` on a free port; yield its ready line, and see it stop in order."""
    with (
        (cwd.parent / "log").open("wb") as log,
        subprocess.Popen(
            [str(program), "serve", "--port", "0", "--workers", "1", "--fronts", "1", *arguments],
            cwd=cwd,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            readable, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
            line = process.stdout.readline().decode() if readable else ""
            assert line, (cwd.parent / "log").read_text()
            yield line
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert code == 0


def sources() -> set[str]:
    """The files of both packages as they are in the checkout."""
    return {
        str(path.relative_to(ROOT))
        for package in ("relay", "workers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and not {"__pycache__", "dist", "native"} & set(path.parts)
    } | {f"relay/config/{path.name}" for path in (ROOT / "config").iterdir()}


def test_the_wheel_holds_both_packages_and_nothing_else_by_a_name_of_its_own(
    built: Built,
) -> None:
    names = set(ZipFile(built.wheel).namelist())
    information = f"relay-{__version__}.dist-info"

    assert {name for name in names if not name.startswith(information)} == sources()
    assert f"{information}/licenses/LICENSE" in names
    for name in (
        *("relay/py.typed", "workers/py.typed"),
        *("relay/config/relay.toml", "relay/config/groups.example.json"),
        *("relay/config/relay.service", "relay/config/relay.socket"),
    ):
        assert name in names
    assert any(name.endswith(".html") for name in names)
    console = {"index.html", "console.css", "console.js"}
    assert {f"relay/admin/console/{name}" for name in console} <= set(names)


def test_the_source_archive_makes_the_same_wheel(built: Built) -> None:
    wheel, again = ZipFile(built.wheel), ZipFile(built.wheel_of_sdist)

    assert built.wheel.name == built.wheel_of_sdist.name
    for name in wheel.namelist():
        if not name.endswith("RECORD"):
            assert wheel.read(name) == again.read(name), name


def test_the_source_archive_has_what_a_checkout_has(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {"supervisor.py", "Makefile", "README.md", "CHANGELOG.md", "LICENSE"} <= names
    assert {"config/relay.toml", "config/relay.service", "Containerfile"} <= names


def test_the_wheel_says_what_it_is(built: Built) -> None:
    wheel = ZipFile(built.wheel)
    text = wheel.read(f"relay-{__version__}.dist-info/METADATA").decode()
    metadata = HeaderParser().parsestr(text)

    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "Relay contributors"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = metadata.get_all("Requires-Dist") or []
    always = {each for each in required if "extra ==" not in each}
    assert len(always) == len(project["dependencies"])
    assert not any(re.match(r"(rich|pygal|psutil|jinja2|hdrhistogram)\b", each) for each in always)


def test_the_relay_serves_where_only_the_wheel_is(installed: Path, elsewhere: Path) -> None:
    relay, data, copy = installed / "relay", elsewhere / "data", elsewhere / "copy"

    with serving(relay, "--data", str(data), cwd=elsewhere) as ready:
        backup = run(relay, "backup", data, copy, cwd=elsewhere)

    assert re.fullmatch(r"ready ws://127\.0\.0\.1:\d+/ fronts=1 workers=1\n", ready)
    assert backup.returncode == 0, backup.stderr
    check = run(relay, "check", copy, "--json", cwd=elsewhere)
    assert check.returncode == 0, check.stderr
    assert json.loads(check.stdout)["clean"] is True


def test_the_default_settings_and_groups_are_at_hand(installed: Path, elsewhere: Path) -> None:
    relay = installed / "relay"
    settings = run(relay, "config", "--write", "relay.toml", cwd=elsewhere)
    groups = run(relay, "config", "groups", cwd=elsewhere)
    (elsewhere / "groups.json").write_text(groups.stdout)

    assert (settings.returncode, groups.returncode) == (0, 0), settings.stderr + groups.stderr
    options = ("--config", "relay.toml", "--groups", "groups.json")
    with serving(relay, *options, cwd=elsewhere) as ready:
        assert ready.startswith("ready ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["relay", "--help"],
        ["relay", "chat", "--help"],
        ["relay", "load", "--help"],
        ["relay", "serve", "--help"],
        ["relay", "completion", "bash"],
        ["python", "-m", "relay", "--help"],
        ["python", "-m", "relay.chat", "--help"],
        ["python", "-m", "relay.loadgen", "--help"],
        ["python", "-m", "workers.store", "--help"],
    ],
    ids=" ".join,
)
def test_every_program_is_there_by_each_of_its_names(
    arguments: list[str], installed: Path, elsewhere: Path
) -> None:
    program, *rest = arguments

    done = run(installed / program, *rest, cwd=elsewhere)

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_load_generator_finds_the_relay_and_its_page(installed: Path, elsewhere: Path) -> None:
    page = elsewhere / "page.html"

    done = run(
        installed / "relay",
        *("load", "chat", "--spawn", "--workers 1 --fronts 1", "--pairs", "2", "--for", "1s"),
        *("--html", page),
        cwd=elsewhere,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "supervisor" in done.stdout
    assert "</html>" in page.read_text()


def test_nothing_of_the_checkout_is_importable_there(installed: Path, elsewhere: Path) -> None:
    done = run(
        installed / "python",
        "-c",
        "import importlib.util as u, relay; print(u.find_spec('supervisor'), relay.__file__)",
        cwd=elsewhere,
    )

    missing, _, path = done.stdout.strip().partition(" ")
    assert missing == "None", done.stderr
    assert Path(path).is_relative_to(installed.parent)
