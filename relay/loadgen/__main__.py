"""`python -m relay.loadgen`."""

import sys

from relay.interpreter import check_interpreter

if __name__ == "__main__":
    check_interpreter()
    from relay.loadgen.cli.commands import main

    sys.exit(main(sys.argv[1:]))
