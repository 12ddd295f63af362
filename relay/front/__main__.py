"""The front process; supervisor.py starts it."""

import sys

from relay.front.server import main
from relay.process import run

if __name__ == "__main__":
    sys.exit(run("front", main))
