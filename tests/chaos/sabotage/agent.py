"""An agent that breaks a promise, if it is one of an agent's."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from relay.cluster import agent
from relay.cluster.agent import main as serve
from relay.cluster.trimming import Trimming
from relay.process.place import Place
from relay.process.run import run

from . import Patch, serve_sabotaged

TRIM_EVERY_S = 0.5


def early_trim(patch: Patch) -> None:
    """Trim all but the last record, at once, whatever standbys have."""

    def up_to_the_end(
        trimming: Trimming, applied: Iterable[int | None], now_s: float, *, copied: int | None
    ) -> int:
        last = max((number for _, number in trimming._samples), default=0)
        trimming._samples.clear()
        return max(0, last - 1)

    patch(agent, "TRIM_EVERY_S", TRIM_EVERY_S)
    patch(Trimming, "up_to", up_to_the_end)


SABOTAGES = {"early-trim": early_trim}


def main(place: Place) -> None:
    """Serve as an agent does, but for the sabotage."""
    serve_sabotaged(place, serve, SABOTAGES)


if __name__ == "__main__":
    sys.exit(run("agent", main))
