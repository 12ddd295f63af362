"""Refuses a suite that leaves too much of what decides untried: `python -m tests.coverage_floor`.

It reads the report that coverage wrote as JSON. Only packages that do no I/O have a floor: what
runs in a child process is not measured, and the figures of the others say little for it.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

FLOOR: Final = 95.0  # percent of lines and branches together, of each package

# A package by the files that are measured for it.
PACKAGES: Final = {
    "relay.protocol": ("relay/protocol/*.py",),
    "relay.bus": ("relay/bus/link.py", "relay/bus/envelopes.py"),
    "workers.shard": ("workers/shard/*.py",),
}


def percents(report: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the packages and what the tests reached of each, in percent.

    Raises:
        ValueError: a pattern of a package matches no file of the report.
    """
    for package, patterns in PACKAGES.items():
        reached = wanted = 0
        for pattern in patterns:
            files = [each for path, each in report["files"].items() if fnmatch(path, pattern)]
            if not files:
                raise ValueError(f"the report has no {pattern}: was it measured?")
            for summary in (each["summary"] for each in files):
                reached += summary["covered_lines"] + summary["covered_branches"]
                wanted += summary["num_statements"] + summary["num_branches"]
        yield package, 100 * reached / wanted


def main(argv: list[str]) -> int:
    """Print a line a package; return 1 if one is below the floor."""
    (path,) = argv
    code = 0
    for package, percent in percents(json.loads(Path(path).read_text())):
        verdict = "" if percent >= FLOOR else f", below the {FLOOR:g} % that it must have"
        sys.stdout.write(f"{package}: {percent:.1f} % of lines and branches{verdict}\n")
        code = code or int(percent < FLOOR)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
