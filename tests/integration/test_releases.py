"""SIGUSR2 for an upgrade: the code that the name leads to runs, or nothing is touched."""

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import ALICE
from tests.outside.releases import install
from tests.outside.waiting import poll_for

from .command import Command

pytestmark = pytest.mark.ordeal

# The program is tried first, then every process starts anew: on a busy machine that takes long.
ROLLED_S = 60.0


class Site:
    """Releases beside each other, a link `current` to one of them, and a relay that it leads to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.current = directory / "current"
        self.command: Command

    def release(self, name: str) -> Path:
        """Install a release, which tells its name as its version."""
        return install(self.directory / name, name)

    def link(self, name: str) -> None:
        new = self.directory / "new"
        new.symlink_to(name)
        new.replace(self.current)

    def start(self, *, cwd: Path | None = None, program: tuple[str, ...] = ()) -> None:
        """Start what `current` leads to."""
        cwd = cwd or self.directory
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        self.command = Command(
            self.directory,
            *("--data", "data"),
            program=program or ("current/supervisor.py",),
            cwd=cwd,
            environment={**environment, "PWD": str(cwd), "TMPDIR": str(self.directory)},
        )
        self.port = self.command.wait_until_ready()

    def roll(self, event: str) -> str:
        """Send SIGUSR2; return the next line of this event."""
        count = self.command.stderr.count(event)
        self.command.process.send_signal(signal.SIGUSR2)
        poll_for(event, lambda: self.command.stderr.count(event) > count, deadline_s=ROLLED_S)
        lines = [each for each in self.command.stderr.splitlines() if event in each]
        return lines[-1]

    def children(self) -> list[Any]:
        supervisor = self.command.process.pid
        return [each for each in self.command.processes() if each.pid != supervisor]

    def codes(self) -> set[str]:
        """The names of the releases that the children run."""
        return {Path(child.cwd()).name for child in self.children()}

    def serves(self) -> bool:
        try:
            client = SheetClient(f"ws://127.0.0.1:{self.port}/")
            try:
                client.login(ALICE)
            finally:
                client.drop()
        except (OSError, AssertionError):
            return False
        return True


@pytest.fixture
def site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory(prefix="relay-test-") as name:
        site = Site(Path(name).resolve())
        site.release("1.0")
        site.link("1.0")
        try:
            yield site
        finally:
            if hasattr(site, "command"):
                site.command.clean_up()


def test_the_release_that_a_link_leads_to_runs_and_the_supervisor_too(site: Site) -> None:
    site.start()
    pid = site.command.process.pid
    before = site.children()
    site.release("2.0")
    site.link("2.0")

    site.roll("supervisor.rolled")

    assert site.codes() == {"2.0"}
    assert not {each.pid for each in before} & {each.pid for each in site.children()}
    [line] = re.findall(r".*supervisor\.renewed.*", site.command.stderr)
    assert "version=2.0" in line
    assert f"pid={pid} " in line
    assert site.serves()  # on the same port, with the same data
    assert site.command.stdout.count("ready") == 1

    # once more: what it has taken over it can hand over
    site.release("3.0")
    site.link("3.0")
    site.roll("supervisor.rolled")
    assert site.codes() == {"3.0"}
    site.command.process.terminate()
    assert site.command.wait() == 0


def test_a_directory_that_was_entered_by_the_link_is_left_for_the_new_one(site: Site) -> None:
    site.start(cwd=site.current, program=("-m", "relay", "serve"))
    assert site.codes() == {"1.0"}
    site.release("2.0")
    site.link("2.0")

    site.roll("supervisor.rolled")

    assert site.codes() == {"2.0"}
    assert site.serves()
    assert not (site.directory / "2.0" / "data").exists()  # the data stay where they were


def test_when_a_release_was_removed_children_start_from_where_the_link_leads(site: Site) -> None:
    site.start()
    site.release("2.0")
    site.link("2.0")
    shutil.rmtree(site.directory / "1.0")

    for child in site.children():
        child.kill()

    poll_for("the successors", site.serves)
    assert site.codes() == {"2.0"}


def broken_worker(home: Path) -> None:
    with (home / "workers" / "loop.py").open("a") as file:
        file.write("\ndef (:\n")


def broken_supervisor(home: Path) -> None:
    (home / "relay" / "supervision" / "fleet.py").write_text("import nothing_like_it\n")


def of_another_format(home: Path) -> None:
    path = home / "relay" / "disk" / "layout.py"
    path.write_text(
        re.sub(r"DATA_FORMAT: Final = \d+", "DATA_FORMAT: Final = 999", path.read_text())
    )


def not_there(home: Path) -> None:
    shutil.rmtree(home)


def too_old(home: Path) -> None:
    (home / "supervisor.py").write_text("import sys\nsys.exit('unrecognized arguments')\n")


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (broken_worker, "workers cannot be imported: SyntaxError: .*loop.py, line"),
        (broken_supervisor, "nothing_like_it"),
        (of_another_format, "this version reads format 999"),
        (not_there, "can't open file"),
        (too_old, "unrecognized arguments"),
    ],
)
def test_a_release_that_cannot_run_is_refused_before_anything_is_stopped(
    site: Site, break_it: Any, reason: str
) -> None:
    site.start()
    before = site.children()
    break_it(site.release("2.0"))
    site.link("2.0")

    line = site.roll("supervisor.not_rolled")

    assert re.search(reason, line)
    assert {each.pid for each in site.children()} == {each.pid for each in before}
    assert site.serves()

    # and when it is mended, the next one goes through
    shutil.rmtree(site.directory / "2.0", ignore_errors=True)
    site.release("2.0")
    site.roll("supervisor.rolled")
    assert site.codes() == {"2.0"}


def test_a_release_whose_front_cannot_start_leaves_the_old_one(site: Site) -> None:
    """A fault that no import shows; a front goes only when its successor serves."""
    site.start()
    [front] = [each for each in site.children() if "relay.front" in each.cmdline()]
    home = site.release("2.0")
    path = home / "relay" / "front" / "entrance" / "listener.py"
    source = path.read_text()
    path.write_text(
        source.replace("        server = self._hub", "        1 / 0\n        server = self._hub")
    )
    assert path.read_text() != source
    site.link("2.0")

    site.roll("supervisor.roll_given_up")

    assert front.is_running()
    assert site.serves()


def test_a_signal_during_the_renewal_is_not_lost(site: Site) -> None:
    site.start()

    site.command.process.send_signal(signal.SIGUSR2)
    site.command.wait_for_log(r"supervisor\.renewed")
    site.command.process.terminate()

    assert site.command.wait() == 0
