"""The agent process; supervisor.py starts it."""

import sys

from relay.cluster.agent import main
from relay.process.run import run

if __name__ == "__main__":
    sys.exit(run("agent", main))
