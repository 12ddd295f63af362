"""`supervisor.py`, but for the programs that it starts: sabotaged workers, fronts and agents."""

from __future__ import annotations

import sys

from relay.supervision.child import MODULES
from relay.supervision.entry import main

from . import chosen

if __name__ == "__main__":
    chosen()
    MODULES["worker"] = "tests.chaos.sabotage.worker"
    MODULES["front"] = "tests.chaos.sabotage.front"
    MODULES["agent"] = "tests.chaos.sabotage.agent"
    sys.exit(main(sys.argv[1:]))
