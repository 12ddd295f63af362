"""The worker process; supervisor.py starts it."""

import sys

from relay.extensions.registry import of_worker
from relay.process.place import Place
from relay.process.run import run
from workers.loop import Worker


def main(place: Place) -> None:
    """Serve one shard until told to stop."""
    Worker(place, of_worker(place.settings)).run()


if __name__ == "__main__":
    sys.exit(run("worker", main))
