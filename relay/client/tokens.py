"""The token that a client shows at its logins: where it comes from, and when it must be another."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

_MOST_AHEAD_S: Final = 60.0
_PART_AHEAD: Final = 0.2
_LEAST_AHEAD_S: Final = 1.0


class TokenRequest(msgspec.Struct, frozen=True):
    """What a function is asked that fetches tokens.

    `renew` is true where the last token has expired, or soon will: one of a cache will not do.
    """

    renew: bool


Token = str | Callable[[TokenRequest], str | Awaitable[str]]


class _Claims(msgspec.Struct):
    exp: float = 0.0


_CLAIMS = msgspec.json.Decoder(_Claims)


def expiry_of(token: str) -> float | None:
    """Return when a JWT expires, in seconds since 1970; None where it does not say."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    try:
        claims = _CLAIMS.decode(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        return None
    return claims.exp if claims.exp > 0 else None


def renew_in_s(left_s: float) -> float:
    """Return in how many seconds to fetch another token, where the present one has `left_s`."""
    return left_s - min(_MOST_AHEAD_S, max(left_s * _PART_AHEAD, _LEAST_AHEAD_S))
