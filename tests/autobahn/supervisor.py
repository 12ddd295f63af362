"""`supervisor.py`, but for the fronts that it starts: they echo."""

from __future__ import annotations

import sys

from relay.supervision.child import MODULES
from relay.supervision.entry import main

if __name__ == "__main__":
    MODULES["front"] = "tests.autobahn.front"
    sys.exit(main(sys.argv[1:]))
