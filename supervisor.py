"""The relay: `python supervisor.py` starts its processes, watches them and stops them."""

import sys

from relay.supervision.supervisor import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
