"""The front process; supervisor.py starts it."""

import sys

from relay import compiled

compiled.use()  # before anything is imported that may be compiled

from relay.front.front import main  # noqa: E402
from relay.process.run import run  # noqa: E402

if __name__ == "__main__":
    sys.exit(run("front", main))
