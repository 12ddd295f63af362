"""The worker process; supervisor.py starts it."""

import sys

from relay import compiled

if __name__ == "__main__":
    compiled.use()
    from relay.process.run import run
    from workers.entry import main

    sys.exit(run("worker", main))
