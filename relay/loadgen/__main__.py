"""`python -m relay.loadgen`."""

import sys

from relay.loadgen.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
