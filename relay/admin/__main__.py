"""The admin process; supervisor.py starts it."""

import sys

from relay.admin.admin import main
from relay.process.run import run

if __name__ == "__main__":
    sys.exit(run("admin", main))
