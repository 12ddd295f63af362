"""Whether NATS servers that the relay does not run are fit to keep its logs.

They say so themselves, each in an answer to JSZ_SUBJECT, which the system account may ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from relay.settings.clustering import FEWEST_HOSTS

JSZ_SUBJECT: Final = "$SYS.REQ.SERVER.PING.JSZ"


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


def unfit(answers: Sequence[Facts]) -> str:
    """Say why the servers that have given `answers` are not taken, "" where they are."""
    keeping = [each for each in answers if not each.data.disabled]
    lazy = sorted(each.server.name for each in keeping if not each.data.config.sync_always)
    if lazy:
        return (
            f"the NATS server {', '.join(lazy)} acks what it has not synced, and a power cut would"
            " take away messages that were acked: set sync_interval: always in its jetstream {}"
        )
    if len(keeping) < FEWEST_HOSTS:
        return (
            f"{len(keeping)} NATS servers with JetStream have answered, and {FEWEST_HOSTS} are"
            " needed for a majority when one is lost"
        )
    return ""
