"""`python -m tests.fuzz.machine TARGET ARGUMENT...`: libFuzzer, for one target, until it ends.

The arguments are libFuzzer's. It ends the process in its own way, also where nothing is found.
"""

from __future__ import annotations

import importlib
import sys

import atheris


def main(target: str, arguments: list[str]) -> None:
    """Fuzz; what the relay's own modules do, and the target, is what counts as reached."""
    with atheris.instrument_imports(include=["relay", "workers", "tests.fuzz.targets"]):
        journalfile = importlib.import_module("workers.store.journalfile")
        # Of a MiB the first KiB alone would say anything, and ten times fewer inputs be tried.
        vars(journalfile).update(STEP=8192, RESERVE=1024)
        module = importlib.import_module(f"tests.fuzz.targets.{target}")
    atheris.Setup([sys.argv[0], *arguments], module.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
