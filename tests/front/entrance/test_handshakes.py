"""What the handshakes of a front share."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

from relay.front.entrance.handshakes import Handshakes
from relay.settings.tables import Settings

DEADLINE_S = 10


class SlowCertificates:
    """Certificates whose disk answers when the test lets it."""

    asks_clients = False

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.threads: list[int] = []

    def refresh(self) -> bool:
        self.threads.append(threading.get_ident())
        return self.may_answer.wait(DEADLINE_S)


def test_certificates_are_read_beside_the_clients() -> None:
    async def scene() -> None:
        certificates = SlowCertificates()
        hub = SimpleNamespace(loop=asyncio.get_running_loop(), settings=Settings())
        handshakes = Handshakes(cast("Any", hub), cast("Any", certificates))

        for _ in range(3):
            handshakes.refresh()  # returns
        async with asyncio.timeout(DEADLINE_S):
            while not certificates.threads:
                await asyncio.sleep(0.005)
        certificates.may_answer.set()

        [thread] = certificates.threads
        assert thread != threading.get_ident()

    asyncio.run(scene())
