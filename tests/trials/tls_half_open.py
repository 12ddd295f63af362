"""TLS handshakes that are begun and left."""

from __future__ import annotations

import asyncio
import itertools
import ssl
import statistics
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Final

from tests.outside.certificates import Authority, tls_config

from .attack import Attack, claim_memory
from .stage import Stage, option

LOAD: Final = "half-open handshakes"
NAME: Final = "chat.example.org"


def client_hello() -> bytes:
    """Return the first flight of a client."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=NAME)
    with suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


@dataclass(frozen=True, kw_only=True)
class TlsHalfOpen(Attack):
    """Connections ask for the dearest part of a TLS handshake, and say nothing more."""

    name: ClassVar[str] = "tls-half-open"

    connections: int = option(2000, "connections that send the first flight of a handshake")
    within_s: float = option(15.0, "seconds that this may take")
    logins: int = option(50, "logins of others, over TLS, in calm and under the load")
    login_ratio: float = option(3.0, "times by which the median of their times may grow")
    # Whoever attacks ends all at once: two loop turns of 26 ms, and 90 MiB go back to the kernel.
    p99_ms: float = option(50.0, "ms to which the others' p99 may grow in any case")
    memory_mib: float = option(128.0, "MiB that each process may take beyond what it has in calm")
    # OpenSSL's, in the middle of a handshake.
    kib: float = option(56.0, "KiB of a front's memory that each of the connections may take")

    @cached_property
    def directory(self) -> tempfile.TemporaryDirectory[str]:
        """Where the relay's certificate is, which goes with the trial."""
        return tempfile.TemporaryDirectory(prefix="relay-trial-")

    @property
    def config(self) -> str:
        """A relay that speaks TLS."""
        certificate = Authority().issue(NAME)
        return tls_config(certificate.write(Path(self.directory.name), "relay"))

    async def play(self, stage: Stage) -> None:
        """See how long logins take, and how long beside the load."""
        await stage.calm()
        calm = await self._log_in(stage, "97")
        async with self.attack(stage, LOAD) as attackers:
            with stage.progress(LOAD, self.within_s):
                holding = asyncio.create_task(
                    attackers.hold(self.connections, client_hello(), within_s=self.within_s)
                )
                loaded = await self._log_in(stage, "96")
                await holding
        findings = await stage.finish()
        claim_memory(findings, self.connections, self.kib)
        findings.claim(
            "others log in soon",
            loaded <= calm * self.login_ratio,
            f"half of {self.logins} within {loaded * 1000:.1f} ms, in calm {calm * 1000:.1f};"
            f" at most {self.login_ratio:g} times that",
        )
        self.directory.cleanup()

    async def _log_in(self, stage: Stage, prefix: str) -> float:
        """Return the median of the seconds that some logins take, one after another."""
        took = []
        for number in itertools.islice(itertools.count(), self.logins):
            began = time.monotonic()
            person = await stage.log_in(f"{prefix}{number:04}")
            took.append(time.monotonic() - began)
            stage.leave(person)
        return statistics.median(took)
