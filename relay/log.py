"""The log: one line an event on stderr, as text for people or JSON for collectors.

    2026-01-01T00:00:00.000Z info worker.exited process=supervisor shard=2 pid=812

An event is named `noun.happened`; what happened to whom goes into the keys. Two rules hold
whatever a caller passes, so that no call site has to remember them:

- A value is data, never layout: what is not printable is escaped, so no client can forge a line.
- No payloads. Bytes, mappings and objects are logged by type and size, texts cut to MAX_TEXT.
"""

import atexit
import json
import logging
import math
import sys
import threading
from collections.abc import Callable, Collection, MutableMapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, TextIO, cast

# structlog's output for developers, which is not used here, loads rich where that is installed: a
# fifth of every process's start. Told that it is not, it does without.
_rich = sys.modules.get("rich")
sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: E402
from structlog.typing import FilteringBoundLogger, Processor  # noqa: E402

from relay.outlet import Outlet  # noqa: E402

if _rich is None:
    del sys.modules["rich"]
else:
    sys.modules["rich"] = _rich

# Longer than any jid, id or path that we log; short enough that a client cannot fill the disk.
MAX_TEXT: Final = 512
# Of a collection; the rest is counted.
MAX_ITEMS: Final = 32
# Of a traceback, the last; deeper than any stack of ours that is no recursion.
MAX_ROWS: Final = 200

# How long the end of a process waits for a log that is not read.
FLUSH_S: Final = 1.0

# By descriptor; one serves every `configure`, so that lines stay in order.
_outlets: Final[dict[int, Outlet]] = {}

# What the latest `configure` binds to every line.
_bound: dict[str, object] = {}

# Set before all other keys of a line, in this order.
_HEAD: Final = ("time", "level", "event")

_Line = MutableMapping[str, Any]


def configure(format: str, level: str, **bound: object) -> None:
    """Log events of `level` and above to the present sys.stderr, each with `bound` in it.

    `format` is "text" or "json" and `level` "debug", "info", "warning" or "error", as in
    relay.settings. From then on unhandled exceptions, in threads too, are events with a
    traceback, and so are warnings of libraries that use `logging`. An asyncio loop keeps
    what its callbacks raise to itself: set an exception handler there.

    Nobody waits for the log: what its reader does not take in time is dropped, and a line tells
    later how much that was. Calling it again replaces everything.
    """
    global _bound
    _bound = bound
    render: Processor = {"text": _text, "json": _json}[format]

    def complete(logger: object, method: str, line: _Line) -> _Line:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"time": now, "level": method, "event": line.pop("event")}
        keys = {**bound, **line}
        return {**head, **{f"{k}_" if k in head else k: v for k, v in keys.items()}}

    def lines_lost(count: int) -> str:
        return str(render(None, "warning", complete(None, "warning", _lost(count))))

    output = _output_of(sys.stderr, lines_lost)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, complete, _reduce, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: output,
        # Or loggers made at import would keep the output of an earlier call.
        cache_logger_on_first_use=False,
    )
    sys.excepthook = _process_crashed
    sys.unraisablehook = _exception_ignored
    threading.excepthook = _thread_crashed
    logging.basicConfig(handlers=[_FromLogging()], level=logging.WARNING, force=True)
    logging.captureWarnings(capture=True)


def reconfigure(format: str, level: str) -> None:
    """Change format and level, as `configure` has them, and nothing else."""
    configure(format, level, **_bound)


def get_logger(**bound: object) -> FilteringBoundLogger:
    """Return a logger with `bound` in each of its lines; it may be made before `configure`.

    Use: `log.info("worker.exited", shard=2, pid=812)`; inside an except block
    `log.exception("store.failed")` adds the traceback.
    """
    return cast(FilteringBoundLogger, structlog.get_logger(**bound))


def flush() -> None:
    """Have what was logged written, if whoever reads it takes it within a moment."""
    for outlet in _outlets.values():
        outlet.flush(FLUSH_S)


class _Direct:
    """Writes lines to a stream that is no file: nobody is waited for there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # a log that no one reads any more is no reason to stop delivering

    debug = info = warning = error = critical = write


class _Output:
    """Writes lines to an outlet, under the names that structlog calls."""

    def __init__(self, outlet: Outlet) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = outlet.write


def _output_of(stream: TextIO, lines_lost: Callable[[int], str]) -> _Direct | _Output:
    try:
        fd = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return _Direct(stream)
    if fd not in _outlets:
        if not _outlets:
            atexit.register(flush)
        _outlets[fd] = Outlet(fd)
    _outlets[fd].say_lost = lines_lost
    return _Output(_outlets[fd])


def _lost(count: int) -> _Line:
    return {"event": "log.lines_lost", "lines": count}


class _FromLogging(logging.Handler):
    """Turns records of libraries that use `logging` into events."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(get_logger(), level)(
            "library.logged",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def _process_crashed(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        get_logger().warning("process.interrupted")
    else:
        get_logger().critical("process.crashed", exc_info=(kind, error, trace))


def _exception_ignored(args: "sys.UnraisableHookArgs") -> None:
    # Raised where Python cannot pass it on, as in __del__.
    error = args.exc_value
    if isinstance(error, UnicodeDecodeError) and isinstance(args.object, bytes):
        # By the ssl module, of a host name that a client asks for and that is not in ASCII. Its
        # handshake fails and is counted; a stranger is not to have a line for each.
        return
    if error:
        get_logger().error("exception.ignored", exc_info=(type(error), error, args.exc_traceback))


def _thread_crashed(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value
    if error is None or isinstance(error, SystemExit):
        return
    name = args.thread.name if args.thread else "?"
    get_logger().critical(
        "thread.crashed", thread=name, exc_info=(type(error), error, args.exc_traceback)
    )


def _reduce(logger: object, method: str, line: _Line) -> _Line:
    """Reduce each value to what may be logged."""
    trace = line.pop("exception", None)
    reduced = {key: _reduced(value) for key, value in line.items()}
    if trace is not None:
        rows = str(trace).splitlines()[-MAX_ROWS:]
        reduced["exception"] = "\n".join(map(_cut, rows))
    return reduced


def _reduced(value: object, *, is_item: bool = False) -> object:
    match value:
        case None | bool():
            return value
        case int():
            # Nothing of ours is longer, and Python refuses to print very long ones.
            bits = value.bit_length()
            return value if bits <= 64 else f"<int of {bits} bits>"
        case float():
            return value if math.isfinite(value) else str(value)  # JSON has no infinities
        case str():
            return _cut(value)
        case bytes() | bytearray() | memoryview():
            return f"<{memoryview(value).nbytes} bytes>"
        case PurePath() | BaseException():
            return _cut(str(value))
        case list() | tuple() | set() | frozenset() if not is_item:
            more = len(value) - MAX_ITEMS
            items = [_reduced(item, is_item=True) for item in islice(value, MAX_ITEMS)]
            return [*items, f"+{more}"] if more > 0 else items
        case Collection():
            return f"<{type(value).__name__} of {len(value)}>"
        case _:
            return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}...+{len(text) - MAX_TEXT}"


def _json(logger: object, method: str, line: _Line) -> str:
    return json.dumps(line, separators=(",", ":"))


def _text(logger: object, method: str, line: _Line) -> str:
    trace = line.pop("exception", "")
    words = [_word(line.pop(key)) for key in _HEAD]
    words += [f"{_word(key)}={_word(value)}" for key, value in line.items()]
    # Indented and escaped: the message of an exception may be the text of a client.
    rest = "".join("\n    " + _escaped(row) for row in trace.splitlines())
    return " ".join(words) + rest


def _word(value: object) -> str:
    """Spell a reduced value without spaces around it; a text is quoted where it needs it."""
    match value:
        case str():
            plain = value and value.isprintable() and not set(value) & set(' "=\\,[]')
            return value if plain else '"' + _escaped(value, '"\\') + '"'
        case list():
            return "[" + ",".join(map(_word, value)) + "]"
        case _:
            return json.dumps(value)


def _escaped(text: str, besides: str = "") -> str:
    """Return `text` with a JSON escape for all that is not printable or is in `besides`."""
    return "".join(c if c.isprintable() and c not in besides else json.dumps(c)[1:-1] for c in text)
