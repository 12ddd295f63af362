"""`python -m workers.store`: the operator's tools for a data directory."""

import sys

from relay.interpreter import check_interpreter

if __name__ == "__main__":
    check_interpreter()
    from workers.tools.commandline import main

    sys.exit(main(sys.argv[1:]))
