"""What is said to the process that fetches keys, what it says, and what it leaves on the disk."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

# Of `Kept` on the disk: twice what an address may answer; the rest of it is that address.
MOST_KEPT_BYTES: Final = 2 * 1024 * 1024


class Order(msgspec.Struct, frozen=True):
    """What to fetch, for which algorithm, and where to keep it."""

    url: str
    algorithm: Literal["HS256", "EdDSA", "RS256", "ES256"]
    cache: str


class Kept(msgspec.Struct, frozen=True):
    """What is on the disk: keys are good only for the address that they came from."""

    url: str
    keys: msgspec.Raw


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What has come: keys, or the reason why there are none. `unkept`: why they are not kept."""

    keys: msgspec.Raw = msgspec.Raw()
    max_age_s: float | None = None
    reason: str = ""
    unkept: str = ""
