"""Keys that somebody else fetches: those of now, and logins that wait for newer ones.

Whoever makes tokens takes a new key when he likes, so a token may be signed by one that nobody here
knows yet. Its login has the keys fetched and waits a little; all others go on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final

from relay.auth.keys import Algorithm, KeySet, parse_key_set

# How long a login waits for a key that nobody knows: a fetch takes some tenths of a second.
WAIT_S: Final = 3.0
# Logins of one front that wait, a few KiB each; anybody can make up a key that nobody knows.
MOST_WAITING: Final = 1000
# Between two askings of one front. How often keys are fetched the supervisor decides.
ASK_EVERY_S: Final = 0.5

NONE: Final = KeySet({}, ())


class AwaitedKeys:
    """The keys of a JWKS that comes when it comes; `ask` has it fetched."""

    def __init__(self, algorithm: Algorithm, ask: Callable[[], object]) -> None:
        self._algorithm: Algorithm = algorithm
        self._ask = ask
        self._asked_s = float("-inf")
        self._asks_later = False
        self._came = asyncio.Event()  # another one for each set
        self.waiting = 0
        self.keys = NONE

    def take(self, content: bytes) -> None:
        """Go by another set; one that has no key for us changes nothing.

        Raises:
            ValueError: it is such a one.
        """
        self.keys = parse_key_set(content, self._algorithm)
        self._came.set()
        self._came = asyncio.Event()

    @property
    def is_crowded(self) -> bool:
        """Whether nobody else may wait."""
        return self.waiting >= MOST_WAITING

    async def wait_for(self, key_id: str) -> bool:
        """Have keys fetched and wait for one of that name; tell whether it is there now."""
        self.waiting += 1
        try:
            self._ask_soon()
            async with asyncio.timeout(WAIT_S):
                while key_id not in self.keys.named:
                    await self._came.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True

    def _ask_soon(self) -> None:
        if not self._asks_later:
            rest_s = self._asked_s + ASK_EVERY_S - monotonic()
            if rest_s <= 0:
                self._ask_now()
            else:
                self._asks_later = True
                asyncio.get_running_loop().call_later(rest_s, self._ask_now)

    def _ask_now(self) -> None:
        self._asks_later = False
        if self.waiting:
            self._asked_s = monotonic()
            self._ask()
