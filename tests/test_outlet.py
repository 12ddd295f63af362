"""Lines for a descriptor that nobody reads: the caller goes on, and what is lost is counted."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.outlet import MAX_WAITING_LINES, Outlet
from tests.outside.waiting import poll_for


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        os.close(fd)


def read_all(fd: int) -> list[str]:
    """Return the lines that are there, until one that ends with "end"."""
    text = b""
    while not text.endswith(b"end\n"):
        text += os.read(fd, 1 << 16)
    return text.decode().splitlines()


def test_lines_are_written_in_order(pipe: tuple[int, int]) -> None:
    outlet = Outlet(pipe[1])

    for line in ("a", "b\udc80", "end"):
        outlet.write(line)

    assert outlet.flush(10)
    assert read_all(pipe[0]) == ["a", "b\\udc80", "end"]


def test_whoever_writes_goes_on_while_nobody_reads_and_the_loss_is_told(
    pipe: tuple[int, int],
) -> None:
    outlet = Outlet(pipe[1], "{} lost".format)
    line = "x" * 1000
    written = 3 * MAX_WAITING_LINES

    for _ in range(written):
        outlet.write(line)
    assert not outlet.flush(0.01)

    text, told = b"", 0
    while text.count(line.encode()) + told < written:
        text += os.read(pipe[0], 1 << 20)
        whole = text[: text.rfind(b"\n") + 1].decode().splitlines()
        told = sum(int(each.split()[0]) for each in whole if each.endswith("lost"))
    assert 0 < told <= written - MAX_WAITING_LINES


def test_what_cannot_be_written_is_told_when_it_can_be(tmp_path: Path) -> None:
    file = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR)
    full = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(full, "{} lost".format)
    for _ in range(3):
        outlet.write("x")
    assert outlet.flush(10)

    os.dup2(file, full)
    outlet.write("y")
    assert outlet.flush(10)

    assert (tmp_path / "log").read_text() == "y\n3 lost\n"
    os.close(file)
    os.close(full)


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    """Whoever shares it may have made it non-blocking."""
    os.set_blocking(pipe[1], False)
    outlet = Outlet(pipe[1])
    for _ in range(200):
        outlet.write("x" * 1000)
    outlet.write("end")

    assert len(read_all(pipe[0])) == 201


def test_without_a_thread_lines_are_dropped_and_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    outlet = Outlet(pipe[1], "{} lost, end".format)

    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        outlet.write("x")
        assert outlet.flush(0)

    outlet.write("y")
    assert read_all(pipe[0]) == ["y", "1 lost, end"]


def test_its_thread_takes_no_signal(pipe: tuple[int, int]) -> None:
    Outlet(pipe[1]).write("end")
    read_all(pipe[0])

    def blocked(task: Path) -> int:
        status = (task / "status").read_text()
        return int(status.partition("SigBlk:")[2].split()[0], 16)

    tasks = list(Path("/proc/self/task").iterdir())
    poll_for("it", lambda: any(blocked(task) >> 14 & 1 for task in tasks))  # SIGTERM
