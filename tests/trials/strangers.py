"""Strangers who begin a handshake and never end it."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, Final, cast

from websockets.uri import parse_uri

from .stage import Stage, Trial, option

LINE: Final = b"X: " + b"x" * 8_095 + b"\r\n"  # as long as the library allows
HEARD: Final = {b"": "cut", b"431": "431", b"503": "503", b"429": "429"}


class Stranger(asyncio.Protocol):
    """Sends headers as fast as they are taken; notes what it is told."""

    def __init__(self, lines: int, heard: Counter[str]) -> None:
        self._left = lines
        self._heard = heard
        self._told = b""
        self._may_write = True
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"GET / HTTP/1.1\r\n")
        self._go_on()

    def _go_on(self) -> None:
        assert self.transport is not None
        while self._left and self._may_write and not self.transport.is_closing():
            self._left -= 1
            self.transport.write(LINE)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._told += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._heard[HEARD.get(self._told[9:12], "another answer")] += 1
        self.transport = None


@dataclass(frozen=True, kw_only=True)
class Strangers(Trial):
    """Strangers send headers without end, beside some who send one and then nothing."""

    name: ClassVar[str] = "strangers"

    seconds: float = option(20.0, "how long they come")
    rate: float = option(300.0, "strangers a second")
    lines: int = option(127, "headers of 8.1 kB that each of them sends")
    silent: int = option(1500, "who stay for as long as they may, with all but the last header")
    handshake_s: float = option(10.0, "admission.handshake_s of the relay")

    @property
    def config(self) -> str:
        """The time of a handshake."""
        return f"[admission]\nhandshake_s = {self.handshake_s}\n"

    async def play(self, stage: Stage) -> None:
        """Have them come; then everybody is to be gone, and what they took given back."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        await stage.calm()
        heard: Counter[str] = Counter()
        strangers: list[Stranger] = []
        began = time.monotonic()
        async with stage.loaded():
            with stage.progress("strangers", self.seconds) as done:
                while (passed := time.monotonic() - began) < self.seconds:
                    while len(strangers) < passed * self.rate:
                        # The first ones are a few bytes short of what is too much.
                        lines = 0 if len(strangers) < self.silent else self.lines
                        strangers.append(await self._connect(stage, lines, heard))
                    done(passed)
                    await asyncio.sleep(0.01)
            await stage.until(
                lambda: heard.total() == len(strangers),
                "the end of every stranger",
                within_s=self.handshake_s + 10,
            )
        stage.findings.figures["strangers"] = f"{len(strangers):,}"
        findings = await stage.finish()
        silent = min(self.silent, len(strangers))
        counters = findings.counters
        findings.claim(
            "every stranger is sent away, and counted",
            counters["handshakes_overdue"] == silent
            and counters["handshakes_too_large"] == len(strangers) - silent
            and heard["another answer"] == 0,
            f"{counters['handshakes_overdue']:,} were too slow,"
            f" {counters['handshakes_too_large']:,} sent too much; they heard {dict(heard)}",
        )

    async def _connect(self, stage: Stage, lines: int, heard: Counter[str]) -> Stranger:
        uri = parse_uri(stage.relay.url)
        loop = asyncio.get_running_loop()
        _, stranger = await loop.create_connection(
            lambda: Stranger(lines, heard), uri.host, uri.port
        )
        if not lines and stranger.transport is not None:
            stranger.transport.write(LINE[:8_000])
        return stranger
