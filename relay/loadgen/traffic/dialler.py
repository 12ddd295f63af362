"""Opens connections, again and again until they are there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from relay.handshake import why
from relay.loadgen.traffic.socketwire import SocketWire, Target
from relay.loadgen.traffic.trouble import Trouble
from relay.loadgen.verify.tally import Tally

RECONNECT_S: Final = (0.05, 0.5)
# A source address has some 28,000 ports towards one server. On loopback there are more addresses.
_SESSIONS_AN_ADDRESS: Final = 20_000


class Dialler:
    """Connects to one target; `sessions` says how many there will be of all processes.

    `index` is the number of this process, which has source addresses of its own.
    """

    def __init__(
        self,
        target: Target,
        tally: Tally,
        trouble: Trouble,
        random: Random,
        *,
        index: int,
        sessions: int,
    ) -> None:
        self.target = target
        self._tally = tally
        self._trouble = trouble
        self._random = random
        self._index = index
        self._needs_addresses = target.is_loopback and sessions >= _SESSIONS_AN_ADDRESS
        self._opened = 0
        self._dialling: set[asyncio.Task[None]] = set()

    def dial(self, make: Callable[[], SocketWire]) -> None:
        """Connect what `make` makes, anew for each try."""
        task = asyncio.get_running_loop().create_task(self._dial(make))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)

    def pause_s(self) -> float:
        """Return how long to wait before the next try, in seconds."""
        return self._random.uniform(*RECONNECT_S)

    def close(self) -> None:
        """Give up what is not there yet."""
        for task in self._dialling:
            task.cancel()

    async def _dial(self, make: Callable[[], SocketWire]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_connection(
                    make,
                    self.target.host,
                    self.target.port,
                    ssl=self.target.tls,
                    local_addr=self._next_source(),
                )
            except OSError as error:
                self._tally.counts.failed_connects += 1
                self._trouble.latest = why(error, self.target.host) or str(error)
                await asyncio.sleep(self.pause_s())
            else:
                return

    def _next_source(self) -> tuple[str, int] | None:
        if not self._needs_addresses:
            return None
        self._opened += 1
        return f"127.0.{1 + self._index}.{1 + self._opened // _SESSIONS_AN_ADDRESS}", 0
