"""`relay` and `python -m relay`: every program of the relay as one command (relay.command)."""

import sys

from relay import signals
from relay.interpreter import check_interpreter


def main() -> int:
    """Run the command that the process was started with; return the exit code."""
    if sys.argv[1:2] == ["serve"]:
        signals.hold()  # until somebody handles them
    check_interpreter()
    from relay.command import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
