"""`python -m workers.store`: the operator's tools for a data directory."""

import sys

from workers.tools.commandline import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
