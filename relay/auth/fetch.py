"""A JWKS fetched from the address that whoever makes the tokens publishes it at."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import httpx

# As much as a file of keys may have.
MAX_BYTES: Final = 1024 * 1024
# Without a byte; whoever calls bounds the whole.
SILENCE_S: Final = 5.0

_MAX_AGE: Final = re.compile(r'(?:^|[\s,])max-age="?([0-9]{1,9})')
_NEVER_KEPT: Final = re.compile(r"(?:^|[\s,])no-(?:store|cache)\b")


class FetchFailed(Exception):
    """There is no answer with a key set in it; says why."""


class Fetched(NamedTuple):
    """What the address has answered, and for how long that is good by its own word, if it says."""

    content: bytes
    max_age_s: float | None


def fetch(url: str) -> Fetched:
    """Ask `url`. It is the one that an operator has named, so no redirect leads elsewhere.

    Raises:
        FetchFailed: it has not answered as it should.
    """
    try:
        with (
            # What is set in the environment is for other programs.
            httpx.Client(timeout=SILENCE_S, trust_env=False, follow_redirects=False) as client,
            client.stream(
                "GET", url, headers={"Accept": "application/json", "Accept-Encoding": "identity"}
            ) as response,
        ):
            if response.is_redirect:
                raise FetchFailed(f"it redirects (HTTP {response.status_code}); name where to")
            if response.status_code != 200:
                raise FetchFailed(f"it answers with HTTP {response.status_code}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise FetchFailed("its answer is compressed, which was not asked for")
            content = bytearray()
            for part in response.iter_raw():
                content += part
                if len(content) > MAX_BYTES:
                    raise FetchFailed(f"its answer has over {MAX_BYTES} bytes")
            return Fetched(bytes(content), _max_age_s(response.headers.get("Cache-Control", "")))
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise FetchFailed(str(error) or type(error).__name__) from None


def _max_age_s(said: str) -> float | None:
    said = said.lower()
    if _NEVER_KEPT.search(said):
        return 0.0
    found = _MAX_AGE.search(said)
    return float(found[1]) if found else None
