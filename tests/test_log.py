"""The log: one line an event whatever it holds, and nothing that is none of its business."""

import io
import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay import log

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")

per_example = hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Take back what `configure` does to the process."""
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # or `configure` would close those of pytest
    yield
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


class Lines:
    """What was logged since the last look."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self) -> list[str]:
        """Return the rows without their times, which every event must have."""
        out, err = self._capsys.readouterr()
        assert out == "", "stdout belongs to the ready line"
        assert err == "" or err.endswith("\n")
        rows = err.split("\n")[:-1]
        return [row if row.startswith("    ") else TIME.sub("", row, count=1) for row in rows]

    def json(self) -> list[dict[str, Any]]:
        out, err = self._capsys.readouterr()
        assert out == ""
        return [json.loads(row) for row in err.split("\n")[:-1]]


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    return Lines(capsys)


def test_a_text_line_is_time_level_event_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text", "info")

    log.get_logger().info("worker.exited", shard=2, pid=812, signal="SIGKILL", uptime_s=41.5)

    line = capsys.readouterr().err
    assert TIME.match(line)
    assert line[25:] == "info worker.exited shard=2 pid=812 signal=SIGKILL uptime_s=41.5\n"


def test_a_json_line_is_one_object(lines: Lines) -> None:
    log.configure("json", "info")

    log.get_logger().warning("worker.exited", shard=2, ok=None, text='a"b\nc')

    (line,) = lines.json()
    assert list(line) == ["time", "level", "event", "shard", "ok", "text"]
    assert TIME.match(line.pop("time") + " ")
    assert line == {
        "level": "warning",
        "event": "worker.exited",
        "shard": 2,
        "ok": None,
        "text": 'a"b\nc',
    }


def test_what_is_bound_comes_first_and_can_be_overridden(lines: Lines) -> None:
    early = log.get_logger(shard=1)
    log.configure("text", "info", process="worker-0")

    early.info("a", pid=1)
    early.info("a", process="x")

    assert lines.text() == [
        "info a process=worker-0 shard=1 pid=1",
        "info a process=x shard=1",
    ]


def test_another_format_and_level_keep_what_is_bound(lines: Lines) -> None:
    log.configure("text", "info", process="worker-0")
    logger = log.get_logger(shard=1)

    log.reconfigure("json", "warning")
    logger.info("a")
    logger.warning("b")

    (line,) = lines.json()
    assert (line["event"], line["process"], line["shard"]) == ("b", "worker-0", 1)


def test_keys_of_the_line_itself_cannot_be_replaced(lines: Lines) -> None:
    log.configure("text", "info", time="never")

    log.get_logger().info("a", level="x")

    assert lines.text() == ["info a time_=never level_=x"]


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_logged(lines: Lines, level: str, logged: list[str]) -> None:
    log.configure("text", level)

    for method in ("debug", "info", "warning", "error"):
        getattr(log.get_logger(), method)("a")

    assert lines.text() == [f"{method} a" for method in logged]


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("plain-1.0/x:y@z", "plain-1.0/x:y@z"),
        ("größe", "größe"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ('a"b\\', '"a\\"b\\\\"'),
        ("a\nb\r\t\x1b[2J", '"a\\nb\\r\\t\\u001b[2J"'),
        ("\x7f\x85\u2028\u202e\ud800", '"\\u007f\\u0085\\u2028\\u202e\\ud800"'),
        (True, "true"),
        (None, "null"),
        (10**30, '"<int of 100 bits>"'),
        pytest.param(1 << 99_999, '"<int of 100000 bits>"', id="huge"),
        (float("inf"), "inf"),
        (HTTPStatus.OK, "200"),
        (Path("/run/a b"), '"/run/a b"'),
        (ValueError("no\nway"), '"no\\nway"'),
        (["a", 1, "b,c"], '[a,1,"b,c"]'),
        (tuple(range(40)), f"[{','.join(map(str, range(32)))},+8]"),
    ],
)
def test_a_value_is_spelled_so_that_it_stays_one_word(
    lines: Lines, value: object, spelled: str
) -> None:
    log.configure("text", "info")

    log.get_logger().info("a", key=value)

    assert lines.text() == [f"info a key={spelled}"]


@pytest.mark.parametrize(
    ("value", "reduced"),
    [
        (b"secret", "<6 bytes>"),
        (bytearray(3), "<3 bytes>"),
        (memoryview(b"abcd"), "<4 bytes>"),
        ({"body": "secret"}, "<dict of 1>"),
        (SimpleNamespace(body="secret"), "<SimpleNamespace>"),
        ([["secret"], b"secret"], ["<list of 1>", "<6 bytes>"]),
        ("x" * 600, "x" * 512 + "...+88"),
    ],
)
@pytest.mark.parametrize("format", ["text", "json"])
def test_payloads_are_reduced_to_type_and_size(
    capsys: pytest.CaptureFixture[str], format: str, value: object, reduced: object
) -> None:
    log.configure(format, "info")

    log.get_logger().info("a", key=value)

    line = capsys.readouterr().err
    assert "secret" not in line
    if format == "json":
        assert json.loads(line)["key"] == reduced


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@per_example
@given(event=st.text(), keys=st.dictionaries(st.text(), anything, max_size=3))
def test_an_event_is_one_line_whatever_it_holds(
    lines: Lines, event: str, keys: dict[str, Any]
) -> None:
    keys = {k: v for k, v in keys.items() if k not in {"event", "exc_info", "exception"}}

    log.configure("text", "info")
    log.get_logger().info(event, **keys)
    (row,) = lines.text()
    log.configure("json", "info")
    log.get_logger().info(event, **keys)
    (line,) = lines.json()

    assert row.isprintable()
    assert row.startswith("info ")
    assert len(line) == 3 + len(keys)


@pytest.mark.parametrize("format", ["text", "json"])
def test_an_exception_is_one_event_with_its_traceback(
    capsys: pytest.CaptureFixture[str], format: str
) -> None:
    log.configure(format, "info")

    try:
        raise ValueError("bad\n2026-01-01T00:00:00.000Z info forged\x1b[2J")
    except ValueError:
        log.get_logger().exception("store.failed", shard=2)

    err = capsys.readouterr().err
    if format == "json":
        (row,) = err.splitlines()
        line = json.loads(row)
        assert (line["level"], line["event"], line["shard"]) == ("error", "store.failed", 2)
        assert line["exception"].startswith("Traceback (most recent call last):\n")
    else:
        first, *trace = err.splitlines()
        assert first.endswith(" error store.failed shard=2")
        assert trace[0] == "    Traceback (most recent call last):"
        assert trace[-1] == "    2026-01-01T00:00:00.000Z info forged\\u001b[2J"
        assert all(row.startswith("    ") and row.isprintable() for row in trace)


def test_a_huge_traceback_is_cut(lines: Lines) -> None:
    log.configure("text", "info")

    log.get_logger().error("a", exc_info=ValueError("x" * 10_000 + "\ny" * 1000))

    _, *trace = lines.text()
    assert len(trace) == log.MAX_ROWS
    assert all(len(row) < log.MAX_TEXT + 20 for row in trace)


def test_an_unhandled_exception_is_an_event(lines: Lines) -> None:
    log.configure("text", "info", process="front-0-1")
    error = ValueError("gone")

    sys.excepthook(ValueError, error, None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert lines.text() == [
        "critical process.crashed process=front-0-1",
        "    ValueError: gone",
        "warning process.interrupted process=front-0-1",
    ]


def test_an_unhandled_exception_of_a_thread_is_an_event(lines: Lines) -> None:
    log.configure("text", "info")

    def fail() -> None:
        raise ValueError("gone")

    thread = threading.Thread(target=fail, name="reader")
    # pytest watches threading.excepthook itself; this thread must meet the one of `configure`.
    thread.start()
    thread.join()
    leaver = threading.Thread(target=sys.exit)
    leaver.start()
    leaver.join()

    rows = lines.text()
    assert rows[0] == "critical thread.crashed thread=reader"
    assert rows[-1] == "    ValueError: gone"


def test_an_exception_that_python_must_ignore_is_an_event(lines: Lines) -> None:
    log.configure("text", "info")
    error = ValueError("gone")
    args = SimpleNamespace(exc_value=error, exc_traceback=None, object=None)

    sys.unraisablehook(cast(Any, args))

    assert lines.text() == ["error exception.ignored", "    ValueError: gone"]


def test_a_name_that_ssl_cannot_read_is_no_event(lines: Lines) -> None:
    log.configure("text", "info")
    error = UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range(128)")
    args = SimpleNamespace(exc_value=error, exc_traceback=None, object=b"\xff.example.org")

    sys.unraisablehook(cast(Any, args))

    assert lines.text() == []


def test_warnings_of_libraries_are_events(lines: Lines) -> None:
    log.configure("text", "info")

    logging.getLogger("websockets").warning("lost %s", "a\nb")
    logging.getLogger("websockets").info("frame < secret")

    assert lines.text() == ['warning library.logged logger=websockets message="lost a\\nb"']


def test_a_log_that_no_one_reads_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str, /) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Broken())
    log.configure("text", "info")

    log.get_logger().info("a")  # does not raise
