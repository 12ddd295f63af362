"""The relay: `python supervisor.py` starts its processes, watches them and stops them."""

import sys

from relay import signals

if __name__ == "__main__":
    signals.hold()  # until somebody handles them
    from relay.interpreter import check_interpreter

    check_interpreter()
    from relay.supervision.entry import main

    sys.exit(main(sys.argv[1:]))
