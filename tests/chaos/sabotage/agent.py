"""An agent that breaks a promise, if it is one of an agent's."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping

from relay.cluster import agent, chores
from relay.cluster.agent import main as serve
from relay.cluster.chores import Chores
from relay.cluster.jetstream import purge, stream_info
from relay.cluster.natswire import Wire
from relay.cluster.trimming import Trimming
from relay.process.place import Place
from relay.process.run import run

from . import Patch, serve_sabotaged

EVERY_S = 0.3
ANSWER_S = 2.0


def early_trim(patch: Patch) -> None:
    """Trim all but the last record, several times a second, whatever standbys have."""

    def up_to_anything(
        trimming: Trimming, applied: Iterable[int | None], now_s: float, *, copied: int | None
    ) -> int:
        return 1

    def trim_all(of: Chores, wire: Wire, up_to: Mapping[int, int]) -> None:
        for range_ in up_to:
            stream = f"{of._cluster.name}-{range_}"
            last = stream_info(wire, stream, ANSWER_S).state.last_seq
            if last > 1:
                purge(wire, stream, last - 1, ANSWER_S)

    patch(agent, "TRIM_EVERY_S", EVERY_S)
    patch(chores, "LOOK_S", EVERY_S)
    patch(Trimming, "up_to", up_to_anything)
    patch(Chores, "_trim", trim_all)


SABOTAGES = {"early-trim": early_trim}


def main(place: Place) -> None:
    """Serve as an agent does, but for the sabotage."""
    serve_sabotaged(place, serve, SABOTAGES)


if __name__ == "__main__":
    sys.exit(run("agent", main))
