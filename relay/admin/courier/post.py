"""One request to the endpoint: signed, over verified TLS, and answered in a bounded time."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from relay import __version__, clock
from relay.admin.courier.letters import Answer
from relay.errors import SettingsError
from relay.settings.webhooks import WebhookSettings
from relay.webhooks.signing import Secrets, sign

# What an endpoint says besides its status nobody reads. So much of it is taken, for so long, that
# the connection can serve the next request.
MAX_ANSWER_BYTES: Final = 16 * 1024
_DRAIN_S: Final = 1.0
_CLOSE_S: Final = 1.0


class Post:
    """The connections to one endpoint."""

    def __init__(self, settings: WebhookSettings) -> None:
        """Connect to nobody yet.

        Raises:
            SettingsError: the URL, the secrets or the certificates are unusable.
        """
        try:
            self._url = httpx.URL(settings.url)
        except httpx.InvalidURL as error:
            raise SettingsError(f"webhooks.url: {error}") from None
        self.secrets = Secrets(settings.secret_file)
        try:
            tls = ssl.create_default_context(cafile=settings.ca_file or None)
        except OSError as error:
            reason = error.strerror or str(error)
            raise SettingsError(f"webhooks.ca_file: {settings.ca_file}: {reason}") from None
        self._client = httpx.AsyncClient(
            verify=tls,
            trust_env=False,  # what is set in the environment is for other programs
            follow_redirects=False,
            timeout=settings.timeout_s,  # of each step; of the whole see below
        )

    async def send(self, name: str, body: bytes, timeout_s: float) -> Answer:
        """Post `body` under the id `name`; whatever comes of it is an answer."""
        headers = sign(self.secrets.all, name, clock.now_ms() // 1000, body) | {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"relay/{__version__}",
        }
        answer: Answer | None = None
        try:
            async with asyncio.timeout(timeout_s):
                request = self._client.stream("POST", self._url, content=body, headers=headers)
                async with request as response:
                    answer = _answer_of(response)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_DRAIN_S):
                            await _drain(response)
        except TimeoutError:
            # What a slow end takes away was said before.
            return answer or Answer(0, f"no answer within {timeout_s:g} s")
        except (httpx.HTTPError, httpx.StreamError, OSError, UnicodeError, ValueError) as error:
            return answer or Answer(0, _words(error))
        finally:
            self._client.cookies.clear()  # it would keep, and send back, all that it is given
        return answer

    async def close(self) -> None:
        """Let go of the connections."""
        with suppress(TimeoutError, httpx.HTTPError, OSError):
            async with asyncio.timeout(_CLOSE_S):
                await self._client.aclose()


async def _drain(response: httpx.Response) -> None:
    size = 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            return  # the connection is closed for it


def _answer_of(response: httpx.Response) -> Answer:
    status = response.status_code
    detail = f"HTTP {status}"
    if response.is_redirect:
        detail += ": it redirects, which is not followed; name where to"
    return Answer(status, detail, _retry_after_s(response.headers.get("Retry-After", "")))


def _retry_after_s(said: str) -> float | None:
    """Return how long the endpoint wants to be left alone, None where it does not say."""
    said = said.strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    if not said:
        return None
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - clock.now_ms() / 1000)
    except (ValueError, OverflowError):
        return None


def _words(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
