"""The worker process; supervisor.py starts it."""

import sys

from relay import compiled

compiled.use()  # before anything is imported that may be compiled

from relay.process.run import run  # noqa: E402
from workers.entry import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(run("worker", main))
