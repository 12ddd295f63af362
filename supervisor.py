"""The relay: `python supervisor.py` starts its processes, watches them and stops them."""

import sys

from relay.interpreter import check_interpreter

if __name__ == "__main__":
    check_interpreter()
    from relay.supervision.supervisor import main

    sys.exit(main(sys.argv[1:]))
