"""A container of the relay, made of the pieces that one is: namespaces, and what the image says.

There it is the first process, no root, without capabilities, on a root that cannot be written; it
writes to its volume and a tmpfs alone.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import ALICE, BOB, ack_1, message_id_of
from tests.outside.processes import REPOSITORY, lives
from tests.outside.waiting import DEADLINE_S, poll_for

pytestmark = pytest.mark.ordeal

STOPS_WITHIN_S = 10.0  # what docker and Kubernetes wait, or less than that
IMAGE = (REPOSITORY / "Containerfile").read_text()
# As the image has them: what is mounted, and a user of the number that it names.
_SETS_UP = """
mount --bind "$1" "$1" && mount -t tmpfs -o mode=1777 tmpfs "$2" || exit 9
mount -o remount,bind,ro / || exit 9
! touch "$3/x" 2>/dev/null || exit 8
uid=$4
shift 4
exec unshare --user --map-user="$uid" --map-group="$uid" "$@"
"""
_NAMESPACES = (
    *("unshare", "--user", "--map-root-user", "--mount"),
    *("--pid", "--fork", "--kill-child", "--mount-proc"),
)
_READY = re.compile(r"ready ws://0\.0\.0\.0:(\d+)/")


def line_of(keyword: str) -> str:
    """Return what the last stage says of `keyword`."""
    found: list[str] = re.findall(rf"^{keyword} (.*)$", IMAGE.rpartition("\nFROM ")[2], re.M)
    return found[-1]


def words_of(keyword: str) -> list[str]:
    """Return the words of a command of the image."""
    words: list[str] = json.loads(line_of(keyword)[line_of(keyword).index("[") :])
    return words


class Container:
    """One that runs the image's command on the data of `directory`, with further options."""

    def __init__(self, directory: Path, tmp: Path, *options: str) -> None:
        self._directory = directory
        data, uid = directory / "data", line_of("USER").partition(":")[0]
        data.mkdir(exist_ok=True)
        entry = [*words_of("ENTRYPOINT"), *words_of("CMD"), *options]
        assert entry[0] == "relay"
        command = [sys.executable, "-m", *(str(data) if w == "/data" else w for w in entry)]
        with (directory / "out").open("wb") as out, (directory / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(*_NAMESPACES, "sh", "-c", _SETS_UP, "sh"),
                    *(str(data), str(tmp), str(directory), uid, *command),
                    *("--workers", "1", "--fronts", "1", "--port", "0"),
                ],
                cwd=REPOSITORY,
                env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "XDG_RUNTIME_DIR": str(tmp)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return (self._directory / "log").read_text()

    def wait_until_ready(self) -> int:
        """Return the port once it serves."""

        def ready() -> re.Match[str] | None:
            return _READY.match((self._directory / "out").read_text())

        poll_for("it", lambda: bool(ready()) or self.process.poll() is not None)
        found = ready()
        assert found, self.log
        return int(found[1])

    @property
    def first(self) -> psutil.Process:
        """The process that is the first one inside."""
        [first] = psutil.Process(self.process.pid).children()
        return first

    def end(self) -> None:
        """End it with all that it has, if it has not ended."""
        if self.process.poll() is None:
            outer = psutil.Process(self.process.pid)
            inner = outer.children(recursive=True)
            for each in (outer, *inner):  # the inner ones go with their first process, or before
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        self.process.wait(DEADLINE_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Container]]:
    if subprocess.run([*_NAMESPACES, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may make no container")
    with tempfile.TemporaryDirectory(prefix="relay-test-") as tmp, ExitStack() as stack:

        def begin(*options: str) -> Container:
            container = Container(tmp_path, Path(tmp), *options)
            stack.callback(container.end)
            return container

        yield begin


def status(process: psutil.Process) -> dict[str, list[str]]:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return {key: rest.split() for key, _, rest in (line.partition(":") for line in lines)}


def test_it_serves_as_the_first_process_without_root_on_a_root_that_is_read_only(
    start: Callable[..., Container], tmp_path: Path
) -> None:
    container = start("--insecure-open")
    port = container.wait_until_ready()

    assert status(container.first)["NSpid"][-1] == "1"

    def processes() -> list[psutil.Process]:
        return [container.first, *container.first.children(recursive=True)]

    poll_for("front, worker and admin", lambda: len(processes()) == 4)
    for process in processes():
        assert status(process)["CapEff"] == ["0000000000000000"]
        mapping = Path(f"/proc/{process.pid}/uid_map").read_text().split()
        assert mapping[0] == line_of("USER").partition(":")[0] != "0"
    alice, bob = (SheetClient(f"ws://127.0.0.1:{port}/") for _ in range(2))
    alice.login(ALICE)
    bob.login(BOB)
    exchange_marker(alice, bob)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "out", "log"}
    for client in (alice, bob):
        client.drop()


def test_it_stops_in_order_before_its_container_is_killed_and_keeps_what_it_has(
    start: Callable[..., Container], tmp_path: Path
) -> None:
    container = start("--insecure-open")
    port = container.wait_until_ready()
    alice, silent = (SheetClient(f"ws://127.0.0.1:{port}/") for _ in range(2))
    alice.login(ALICE)
    silent.login("700")  # it will not answer a close
    alice.send_message(BOB, "M")
    alice.expect(ack_1("M", author=ALICE, to=BOB))
    processes = container.first.children(recursive=True)

    began = time.monotonic()
    container.first.send_signal(signal.Signals[line_of("STOPSIGNAL")])
    code = container.process.wait(DEADLINE_S)

    assert time.monotonic() - began < STOPS_WITHIN_S
    assert code == 0, container.log
    assert not any(map(lives, processes))
    for client in (alice, silent):
        client.drop()
    again = start("--insecure-open")
    bob = SheetClient(f"ws://127.0.0.1:{again.wait_until_ready()}/")
    assert list(map(message_id_of, bob.login(BOB))) == ["M"]
    bob.drop()


def test_without_a_word_about_strangers_it_does_not_serve_them(
    start: Callable[..., Container],
) -> None:
    container = start()

    assert container.process.wait(DEADLINE_S) == 2
    assert "is not a loopback address" in container.log


def test_the_health_check_is_good_while_a_front_answers_and_bad_otherwise(
    start: Callable[..., Container],
) -> None:
    container = start("--insecure-open")
    port = container.wait_until_ready()

    def is_healthy() -> bool:
        [_, *words] = (word.replace("9011", str(port)) for word in words_of("HEALTHCHECK"))
        command = [sys.executable, *words]
        done = subprocess.run(command, capture_output=True, check=False, timeout=20)
        return done.returncode == 0

    assert is_healthy()
    [front] = [p for p in container.first.children() if "relay.front" in p.cmdline()]
    front.suspend()
    assert not is_healthy()
    front.resume()
    container.first.terminate()
    container.process.wait(DEADLINE_S)
    assert not is_healthy()


def test_the_image_takes_only_what_is_there_and_no_builder_along() -> None:
    build, run = IMAGE.split("\nFROM ")[1:]
    copied = re.findall(r"^COPY ((?:[\w.]+ )+)[\w./]+$", build, re.M)
    sources = {name for names in copied for name in names.split()}

    assert sources == {"pyproject.toml", "README.md", "LICENSE", "config", "relay", "workers"}
    assert all((REPOSITORY / name).exists() for name in sources)
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    assert "pip" not in run
    assert run.index("\nUSER ") < run.index("\nENTRYPOINT ")
