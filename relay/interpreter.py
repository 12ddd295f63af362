"""What the Python that runs us must have; every program looks here before it imports more.

It imports nothing but the standard library, and like the programs' own files it is written in the
syntax of Python 3.6, so that an old interpreter comes far enough to be told.
"""

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
    "lmdb": "lmdb",
    "structlog": "structlog",
    "prompt_toolkit": "prompt_toolkit",
}


def check_interpreter() -> None:
    """Return if this Python can run the relay.

    Raises:
        SystemExit: it cannot. Uncaught, it is one line on stderr, with what to do, and exit code 1.
    """
    if sys.version_info < OLDEST:
        wanted, found = (".".join(map(str, each)) for each in (OLDEST, sys.version_info[:3]))
        sys.exit(f"relay: Python {wanted} or newer is needed; {sys.executable} is {found}")
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        sys.exit(
            f"relay: {sys.executable} lacks {', '.join(missing)}: run `make setup` and use"
            " .venv/bin/python, or run `python -m pip install -e .`"
        )
