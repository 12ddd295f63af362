"""The front process; supervisor.py starts it."""

import sys

from relay.front.listener import main
from relay.process.run import run

if __name__ == "__main__":
    sys.exit(run("front", main))
