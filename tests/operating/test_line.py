"""What a command says of a relay that does not answer, or not to its end."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from relay.errors import NotAnswered, NotAsked
from relay.operating.line import SOCKET_NAME, Line


@pytest.fixture
def run() -> Iterator[Path]:
    """A run directory whose path is short enough for a socket, below it a data directory."""
    with TemporaryDirectory() as path:
        data = Path(path) / "data"
        data.mkdir()
        note = {"pid": os.getpid(), "run_dirs": [path]}
        (data / "lock").write_text(json.dumps(note) + "\n")
        yield Path(path)


def listening(run: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(run / SOCKET_NAME))
    listener.listen()
    return listener


def read_request(connection: socket.socket) -> None:
    """Read all of it: who closes before has the command fail as it writes."""
    with connection.makefile("rb") as lines:
        length = 0
        while (line := lines.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        lines.read(length)


def says(run: Path, answer: bytes, method: str) -> NotAsked:
    """Return what a command hears of an admin that says that, and is gone."""
    with listening(run) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                read_request(connection)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        line = Line(run / "data")
        with pytest.raises(NotAsked) as caught:
            line.send(method, "x", body={}) if method != "GET" else line.get("x")
        thread.join(10)
    return caught.value


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "Remote end closed connection without response"),
        (b"HTTP/1.1 2", "HTTP/1.1 2"),
        (HEAD, "its answer was cut short"),
        (HEAD + b'{"half": ', "its answer was cut short"),
    ],
)
def test_one_that_dies_amid_an_answer_may_have_done_it_and_that_is_said(
    run: Path, answer: bytes, why: str
) -> None:
    error = says(run, answer, "POST")

    assert isinstance(error, NotAnswered)
    assert f" did not answer: {why}; " in str(error)
    assert str(error).endswith("it may have done it: look, or ask again")


def test_of_a_look_that_was_cut_nothing_can_have_been_done(run: Path) -> None:
    error = says(run, HEAD, "GET")

    assert isinstance(error, NotAnswered)
    assert str(error).endswith("; ask again")
    assert "may have done" not in str(error)


def test_one_that_has_died_was_not_asked_and_may_be_back_soon(run: Path) -> None:
    listening(run).close()

    with pytest.raises(NotAnswered, match=r"answers nobody now: Connection refused; .* ask again"):
        Line(run / "data").send("POST", "x")


def test_one_without_an_admin_is_told_from_one_that_has_died(run: Path) -> None:
    with pytest.raises(NotAsked, match=r"or has --no-admin") as caught:
        Line(run / "data").get("x")
    assert not isinstance(caught.value, NotAnswered)
