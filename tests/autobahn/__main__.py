"""`python -m tests.autobahn`: run the cases, print what they say; exit 1 if not as expected."""

from __future__ import annotations

import sys

from .suite import run_suite
from .verdicts import faults, read_expected, table


def main() -> int:
    """Run all cases."""
    expected = read_expected()
    verdicts = run_suite(expected, _say)
    sys.stdout.write("\n".join(table(expected, verdicts)) + "\n")
    wrong = list(faults(expected, verdicts))
    for line in wrong:
        _say(line)
    return 1 if wrong else 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
