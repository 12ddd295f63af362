"""Whether NATS servers that the relay does not run are fit to keep its logs.

They say so themselves, each in an answer to JSZ_SUBJECT, which the system account may ask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from relay.settings.clustering import FEWEST_HOSTS

JSZ_SUBJECT: Final = "$SYS.REQ.SERVER.PING.JSZ"

# What every NATS server takes that nobody has told otherwise, and what copies of stores go in.
_LEAST_PAYLOAD_BYTES: Final = 1024 * 1024
# A record of a log may be in 16 messages (workers.log.parts), and the largest thing that happens
# makes up to half of one (workers.loop); headers and the heads of records come on top.
_OF_LARGEST: Final = 1 / 8
_BESIDES_BYTES: Final = 8 * 1024


class _Server(msgspec.Struct, frozen=True):
    name: str = ""


class _Config(msgspec.Struct, frozen=True):
    sync_always: bool = False


class _Jsz(msgspec.Struct, frozen=True):
    disabled: bool = False
    config: _Config = _Config()


class Facts(msgspec.Struct, frozen=True):
    """What one server has answered."""

    server: _Server = _Server()
    data: _Jsz = _Jsz()


def facts_of(payload: bytes) -> Facts | None:
    """Return what an answer says; None: it is no such answer."""
    try:
        return msgspec.json.decode(payload, type=Facts)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def least_payload_bytes(*, message_bytes: int, ranges: int) -> int:
    """Return how large a message each server must take where users' may be of `message_bytes`.

    One to a group with members in all `ranges` is in one record as often.
    """
    largest = message_bytes * ranges
    return max(_LEAST_PAYLOAD_BYTES, int(largest * _OF_LARGEST) + _BESIDES_BYTES)


def unfit(answers: Sequence[Facts], payloads: Mapping[str, int], least_bytes: int) -> str:
    """Say why the servers that have given `answers` are not taken, "" where they are.

    `payloads` is how large a message each takes that could be reached, by name.
    """
    keeping = [each for each in answers if not each.data.disabled]
    lazy = sorted(each.server.name for each in keeping if not each.data.config.sync_always)
    if lazy:
        return (
            f"the NATS server {', '.join(lazy)} acks what it has not synced, and a power cut would"
            " take away messages that were acked: set sync_interval: always in its jetstream {}"
        )
    small = {name: most for name, most in payloads.items() if most < least_bytes}
    if small:
        name, most = min(small.items())
        return (
            f"the NATS server {name} takes messages of {most} bytes at most, and those of the relay"
            f" may have {least_bytes}, by limits.message_bytes and cluster.ranges: set max_payload:"
            f" {least_bytes} or more on each"
        )
    if len(keeping) < FEWEST_HOSTS:
        return (
            f"{len(keeping)} NATS servers with JetStream have answered, and {FEWEST_HOSTS} are"
            " needed for a majority when one is lost"
        )
    return ""
