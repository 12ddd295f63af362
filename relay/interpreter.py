"""What a program needs of the Python that runs it, which it sees to before it imports more.

It imports nothing but the standard library, and like the programs' own files it is written in the
syntax of Python 3.6, so that an old interpreter comes far enough to be told.
"""

import os
import sys
from importlib.util import find_spec

OLDEST = (3, 11)

# The dependencies that pyproject.toml lists, by the name that is imported.
PACKAGES = {
    "zmq": "pyzmq",
    "websockets": "websockets",
    "uvloop": "uvloop",
    "click": "click",
    "msgspec": "msgspec",
    "jwt": "pyjwt",
    "cryptography": "cryptography",
    "httpx": "httpx",
    "lmdb": "lmdb",
    "structlog": "structlog",
    "prompt_toolkit": "prompt_toolkit",
    "litestar": "litestar",
    "uvicorn": "uvicorn",
    "prometheus_client": "prometheus-client",
}


def check_interpreter() -> None:
    """Return if this Python can run the relay; then the standard streams are open.

    Raises:
        SystemExit: it cannot. Uncaught, it is one line on stderr, with what to do, and exit code 1.
    """
    open_standard_streams()
    if sys.version_info < OLDEST:
        wanted, found = (".".join(map(str, each)) for each in (OLDEST, sys.version_info[:3]))
        sys.exit(f"relay: Python {wanted} or newer is needed; {sys.executable} is {found}")
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        sys.exit(
            f"relay: {sys.executable} lacks {', '.join(missing)}: run `make setup` and use"
            " .venv/bin/python, or run `python -m pip install -e .`"
        )


def open_standard_streams() -> None:
    """Open /dev/null in place of each standard stream that whoever started us has closed.

    Otherwise the next file or socket would get its number, and what is meant for people be written
    into it.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it gets the lowest number
    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))
