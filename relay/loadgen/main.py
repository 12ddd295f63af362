"""One call of the load generator, from its command line to its exit code."""

from __future__ import annotations

import signal
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, NoReturn

from relay.errors import RelayError, SettingsError
from relay.loadgen.commandline import Comparison, Request, parse

if TYPE_CHECKING:
    from rich.console import Console

EXIT_OK: Final = 0
EXIT_FAULTS: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_EXIT_TERMINATED: Final = 143
_PIPE_WIDTH: Final = 120  # of tables that no terminal limits

# What the extra `load` installs, by the name that is imported.
_EXTRAS: Final = {
    "hdrh": "hdrhistogram",
    "rich": "rich",
    "psutil": "psutil",
    "jinja2": "jinja2",
    "pygal": "pygal",
}


def main(argv: list[str]) -> int:
    """Do what `argv` asks for and return the exit code; see `--help`."""
    request = parse(argv)
    missing = [package for module, package in _EXTRAS.items() if find_spec(module) is None]
    if missing:
        _complain(
            f"{', '.join(missing)} not installed; the load generator needs the extra `load`: "
            "python -m pip install -e '.[load]'"
        )
        return EXIT_USAGE
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        return _compare(request) if isinstance(request, Comparison) else _run(request)
    except SettingsError as error:
        _complain(str(error))
        return EXIT_USAGE
    except RelayError as error:
        _complain(str(error))
        return EXIT_FAULTS
    except KeyboardInterrupt:
        _complain("interrupted; nothing is reported")
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)


# The libraries are imported where they are needed: --help and the complaint above need none.


def _compare(request: Comparison) -> int:
    from relay.loadgen.report import read_record
    from relay.loadgen.table import show_changes

    show_changes(_console(), read_record(request.first), read_record(request.second))
    return EXIT_OK


def _run(request: Request) -> int:
    from rich.console import Console

    from relay.loadgen.page import render
    from relay.loadgen.people import all_circles, groups_file
    from relay.loadgen.report import write_file, write_record
    from relay.loadgen.runner import run
    from relay.loadgen.table import show

    if request.groups_file is not None:
        write_file(request.groups_file, groups_file(all_circles(request.plan)))
        return EXIT_OK
    console = _console()
    record = run(request, console, Console(stderr=True))
    show(console, record)
    if request.json is not None:
        write_record(record, request.json)
    if request.html is not None:
        write_file(request.html, render(record).encode())
    return EXIT_OK if record.is_good else EXIT_FAULTS


def _console() -> Console:
    from rich.console import Console

    wide = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, width=wide)


def _terminated(number: int, frame: object) -> NoReturn:
    # So that what we started is stopped on the way out.
    raise SystemExit(_EXIT_TERMINATED)


def _complain(text: str) -> None:
    sys.stderr.write(f"relay-load: {text}\n")
