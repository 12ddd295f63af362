"""What the admin may do with its courier, without loading the libraries that one needs."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from relay.admin.courier.letters import Answer
from relay.settings.webhooks import WebhookSettings


class Report(NamedTuple):
    """How posting goes; times are ms since 1970, 0 for never."""

    state: Literal["posting", "failing", "gone"]
    held: int  # events that the admin has, of those that wait
    posted_ms: int
    failed_ms: int
    failure: str
    next_try_s: float


class Courier(Protocol):
    """Takes events from the workers, and has the endpoint told."""

    def adopt(self, settings: WebhookSettings) -> None:
        """Go by other settings, but for those that need a restart."""

    def refresh(self) -> None:
        """Read the secrets again if they have changed."""

    def start(self) -> None:
        """Post from here on."""

    async def close(self) -> None:
        """Post nothing any more; what is under way is given up, and comes again."""

    def report(self) -> Report:
        """Return how it is."""

    def resume(self) -> None:
        """Try everything now, also of an endpoint that wanted nothing any more."""

    async def test(self) -> Answer:
        """Post an event that tells nothing, beside all others and however they fare."""
