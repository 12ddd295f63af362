"""A front that breaks a promise, if it is one of a front's."""

from __future__ import annotations

import sys

from relay.bus.topology import WorkerAddress
from relay.front.front import main as serve
from relay.front.links import WorkerLink
from relay.process.place import Place
from relay.process.run import run

from . import Patch, serve_sabotaged


def no_replay(patch: Patch) -> None:
    """Let a link forget what is unconfirmed when the worker's successor is there."""
    connect = WorkerLink.connect

    def connect_and_forget(link: WorkerLink, address: WorkerAddress) -> None:
        link._outgoing.restart()
        link._kept = []
        connect(link, address)

    patch(WorkerLink, "connect", connect_and_forget)


SABOTAGES = {"no-replay": no_replay}


def main(place: Place) -> None:
    """Serve as a front does, but for the sabotage."""
    serve_sabotaged(place, serve, SABOTAGES)


if __name__ == "__main__":
    sys.exit(run("front", main))
