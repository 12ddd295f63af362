"""What a run is asked for: the plan, the servers, and where everything runs."""

from __future__ import annotations

from typing import Final

import msgspec

from relay.loadgen.traffic.plan import Plan
from relay.trust import Trust

DEFAULT_URL: Final = "ws://127.0.0.1:9011/"


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was asked for, checked. `spawn` None: the relay at `url` runs already."""

    plan: Plan
    url: str = DEFAULT_URL
    spawn: str | None = None
    reference: bool = False
    rounds: int = 1
    relay_cpus: tuple[int, ...] = ()
    load_cpus: tuple[int, ...] = ()
    trust: Trust = Trust()
    tokens: dict[str, str] = {}
    token_key: bytes = b""  # signs tokens for whoever has none
