"""The front process; supervisor.py starts it."""

import sys

from relay import compiled

if __name__ == "__main__":
    compiled.use()
    from relay.front.front import main
    from relay.process.run import run

    sys.exit(run("front", main))
