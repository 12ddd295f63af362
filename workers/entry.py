"""What a worker process does, once it has its place."""

from relay.extensions.registry import of_worker
from relay.process.place import Place
from workers.loop import Worker


def main(place: Place) -> None:
    """Serve one shard until told to stop; in a cluster, from when it is this process's."""
    registry = of_worker(place.settings)
    if not place.settings.cluster.is_on:
        Worker(place, registry).run()
        return
    # Here, because a relay on one host needs nothing of it.
    from workers.standby import Standby

    promotion = Standby(place, registry).run()
    if promotion is not None:
        Worker(place, registry, promotion=promotion).run()
