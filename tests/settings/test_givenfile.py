"""A file that the operator has named: read, or refused at once."""

import os
import socket
from pathlib import Path

import pytest

from relay.errors import SettingsError
from relay.settings.givenfile import read_given


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml: cannot read it: No such file"):
        read_given(tmp_path / "gone.toml", max_bytes=9)
    with pytest.raises(SettingsError, match="cannot read it: Is a directory, and must be a file"):
        read_given(tmp_path, max_bytes=9)


def test_a_newline_in_the_name_of_the_file_makes_no_second_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read_given(tmp_path / "a\nb", max_bytes=9)

    assert str(caught.value).isprintable()


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"123456789")

    assert read_given(path, max_bytes=9) == b"123456789"


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"1234567890")

    with pytest.raises(SettingsError, match="file: larger than 9 bytes, the most allowed"):
        read_given(path, max_bytes=9)


@pytest.mark.timeout(10)
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    with pytest.raises(SettingsError, match="fifo: cannot read it: Is a fifo, and must be a file"):
        read_given(path, max_bytes=9)


@pytest.mark.timeout(10)
def test_a_fifo_that_somebody_writes_to_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.write(descriptor, b"text")

        with pytest.raises(SettingsError, match="Is a fifo"):
            read_given(path, max_bytes=9)
    finally:
        os.close(descriptor)


def test_a_device_or_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="/dev/zero: cannot read it: Is a device"):
        read_given(Path("/dev/zero"), max_bytes=9)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        with pytest.raises(SettingsError, match="s: cannot read it: "):
            read_given(tmp_path / "s", max_bytes=9)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_what_can_be_no_name_of_a_file_is_one_line(name: str) -> None:
    with pytest.raises(SettingsError, match="No file can have this name") as caught:
        read_given(Path(name), max_bytes=9)

    assert str(caught.value).isprintable()


def test_a_device_is_not_even_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """To open one may do something: a watchdog would begin to count."""
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("it was opened"))

    with pytest.raises(SettingsError, match="Is a device"):
        read_given(Path("/dev/null"), max_bytes=9)


def test_of_one_that_is_huge_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 1 << 40)
    monkeypatch.setattr(os, "read", lambda *_: pytest.fail("it was read"))

    with pytest.raises(SettingsError, match="larger than 9 bytes"):
        read_given(path, max_bytes=9)


def test_one_that_does_not_tell_its_size_is_read_within_bounds() -> None:
    assert os.stat("/proc/self/cmdline").st_size == 0
    assert read_given(Path("/proc/self/cmdline"), max_bytes=1 << 20)
    with pytest.raises(SettingsError, match="larger than 3 bytes"):
        read_given(Path("/proc/self/cmdline"), max_bytes=3)
