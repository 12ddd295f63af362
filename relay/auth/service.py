"""Mode "http": an endpoint of the operator says who somebody is.

Each login is a POST of JSON: `user` (the local part), `token` (null where none was shown),
`address` and `headers` (of the WebSocket handshake, those that the settings name). 200 with
`{"user": JID}` lets in, until `until` if that is there (s since 1970); 401 and 403 do not. Whatever
else comes is a failure, and lets nobody in: its client hears 503 and when to try again.
"""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from time import monotonic
from typing import Annotated, Final

import httpx
import msgspec

from relay import clock, log
from relay.auth.breaker import Breaker
from relay.auth.contract import CLOSED, Credentials, Denied, Granted, Peer, Verdict
from relay.errors import JidError, SettingsError
from relay.protocol.jid import parse_user
from relay.settings.tables import HttpSettings

# An answer has some fifty bytes.
MAX_ANSWER_BYTES: Final = 64 * 1024
# Logins that wait for their turn, in one front; at 32 under way of 50 ms each that is 2 s.
MAX_WAITING: Final = 1000
# Good answers that are kept, some 200 bytes each.
MAX_CACHED: Final = 10_000


class _Answer(msgspec.Struct, frozen=True):
    user: str
    until: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] = 0


class _Failed(Exception):
    """The service gave no answer that says yes or no."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Answer).decode


class ServiceAuthenticator:
    """Asks the endpoint, many logins at a time and each for a bounded while."""

    def __init__(
        self, settings: HttpSettings, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Ask nobody yet; `transport` stands in for the network.

        Raises:
            SettingsError: the URL is none.
        """
        try:
            url = httpx.URL(settings.url)
        except httpx.InvalidURL as error:
            raise SettingsError(f"auth_http.url: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise SettingsError("auth_http.url: a URL with http:// or https:// is expected")
        self._url = url
        self._settings = settings
        self._transport = transport
        self._client: httpx.AsyncClient | None = None  # once somebody logs in
        self._turns = asyncio.Semaphore(settings.concurrency)
        self._waiting = 0
        self._under_way: set[asyncio.Task[Verdict]] = set()
        self._breaker = Breaker()
        self._cache: dict[bytes, tuple[float, Granted]] = {}  # the oldest first

    def refresh(self) -> bool:
        """See `Authenticator.refresh`: there are no files."""
        return False

    def take_keys(self, content: bytes) -> None:
        """See `Authenticator.take_keys`: there are none."""

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`: the service is asked at logins alone."""
        return True

    async def close(self) -> None:
        """See `Authenticator.close`."""
        client, self._client = self._client, None
        for asking in self._under_way:
            asking.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if client is not None:
            await client.aclose()

    async def check(self, credentials: Credentials, peer: Peer, *, now_s: float) -> Verdict:
        """See `Authenticator.check`."""
        body = _encode(
            {
                "user": credentials.user,
                "token": None if credentials.token is None else credentials.token.text,
                "address": peer.address,
                "headers": dict(peer.headers),
            }
        )
        key = blake2b(body, digest_size=32).digest()
        known = self._cache.get(key)
        if known is not None and monotonic() < known[0] and not _is_over(known[1], now_s):
            return known[1]
        if self._waiting >= MAX_WAITING:
            return Denied(503, CLOSED, 1.0)
        self._waiting += 1
        try:
            await self._turns.acquire()
            asking = asyncio.get_running_loop().create_task(
                self._ask_and_keep(credentials.user, body, key)
            )
            self._under_way.add(asking)
            asking.add_done_callback(self._under_way.discard)
            # Who leaves gives up its place among those who wait. What the endpoint has been asked
            # it works on all the same, so that goes on to count.
            await asyncio.wait([asking])
        finally:
            self._waiting -= 1
        return asking.result()

    async def _ask_and_keep(self, user: str, body: bytes, key: bytes) -> Verdict:
        """Ask, in a turn that was taken and is given back; keep a good answer."""
        try:
            verdict = await self._ask(user, body)
        finally:
            self._turns.release()
        if isinstance(verdict, Granted):
            if _is_over(verdict, clock.now_ms() / 1000):
                return Denied(401, "the login has expired")
            self._keep(key, verdict)
        return verdict

    async def _ask(self, user: str, body: bytes) -> Verdict:
        breaker, clock_s = self._breaker, monotonic
        if not breaker.may_ask(clock_s()):
            return Denied(503, CLOSED, breaker.retry_after_s(clock_s()))
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                status, answer = await self._post(body)
            verdict = _verdict_of(user, status, answer)
        except (_Failed, httpx.HTTPError, TimeoutError, OSError) as error:
            if breaker.failed(clock_s()):
                reason = str(error) or type(error).__name__
                log.get_logger().error("auth.service_failing", reason=reason)
            return Denied(503, CLOSED, breaker.retry_after_s(clock_s()))
        if breaker.answered():
            log.get_logger().info("auth.service_answers_again")
        return verdict

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                timeout=self._settings.timeout_s,
                limits=httpx.Limits(max_connections=self._settings.concurrency),
                trust_env=False,  # what is secret goes nowhere but to the URL
                follow_redirects=False,
            )
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # of what is packed nobody knows how much it is
        }
        request = self._client.stream("POST", self._url, content=body, headers=headers)
        async with request as response:
            answer = b""
            async for part in response.aiter_raw():
                answer += part
                if len(answer) > MAX_ANSWER_BYTES:
                    raise _Failed(f"an answer of over {MAX_ANSWER_BYTES} bytes")
            return response.status_code, answer

    def _keep(self, key: bytes, granted: Granted) -> None:
        if self._settings.cache_s:
            if len(self._cache) >= MAX_CACHED:
                del self._cache[next(iter(self._cache))]
            self._cache.pop(key, None)
            self._cache[key] = (monotonic() + self._settings.cache_s, granted)


def _is_over(granted: Granted, now_s: float) -> bool:
    """Tell whether the time of a good answer has passed: its session would end at once."""
    return 0 < granted.until_s <= now_s


def _verdict_of(user: str, status: int, answer: bytes) -> Verdict:
    match status:
        case 200:
            try:
                found = _decode(answer)
                named = parse_user(found.user)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, JidError) as error:
                raise _Failed(f'200 without {{"user": JID}}: {error}') from None
            if named != user:
                return Denied(401, "the login is of another user than remoteJid")
            return Granted(found.until)
        case 401:
            return Denied(401, "the login was refused")
        case 403:
            return Denied(403, "this user may not log in")
        case _:
            raise _Failed(f"it answers with HTTP {status}")
