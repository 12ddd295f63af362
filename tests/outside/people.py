"""Who takes part in a test: users by the worker that owns them, and casts that share nobody."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from relay.protocol.slots import shard_ranges, slot_of

from .frames import ALICE, BOB, CAROL, EVE, GROUP


def users_of_shard(shard: int, *, workers: int = 2, prefix: str = "91") -> Iterator[str]:
    """Yield users, `prefix` and a number, whose mailboxes worker `shard` of `workers` owns."""
    slots = shard_ranges(workers)[shard]
    users = (f"{prefix}{number}" for number in itertools.count())
    return (user for user in users if slot_of(user) in slots)


def shard_of(local: str, *, workers: int = 2) -> int:
    """The index of the worker that owns `local`."""
    slot = slot_of(local)
    return next(index for index, slots in enumerate(shard_ranges(workers)) if slot in slots)


@dataclass(frozen=True)
class Cast:
    """The people of one test, where many share a relay, and the group of the first three.

    Each lives in the shard, of two, in which its namesake among the constants lives.
    """

    alice: str
    bob: str
    carol: str
    eve: str
    group: str

    def others(self, shard: int) -> Iterator[str]:
        """Yield further users, whom no other cast has; worker `shard` of two owns them."""
        return users_of_shard(shard, prefix=f"{self.alice}-")


def casts() -> Iterator[Cast]:
    """Yield casts that have nobody in common, without end, and the same in each process."""
    roles = map(_namesakes, (ALICE, BOB, CAROL, EVE, GROUP.removesuffix("@g.us")))
    for alice, bob, carol, eve, group in zip(*roles, strict=True):
        yield Cast(alice, bob, carol, eve, f"{group}@g.us")


def _namesakes(local: str) -> Iterator[str]:
    return users_of_shard(shard_of(local), prefix=local)
