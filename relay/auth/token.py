"""Mode "token": a JWT says who its bearer is (PROTOCOL E1).

The algorithm is the operator's and never the token's. Of a token that is refused a client hears
which claim or part is wrong, and nothing of what a key says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import jwt

from relay import log
from relay.auth.awaited import AwaitedKeys
from relay.auth.contract import CLOSED, Credentials, Denied, Granted, Peer, Verdict
from relay.auth.keys import SHARED, KeySet, read_key_set, read_public_keys, read_secret
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError
from relay.settings.tables import TokenSettings

# A token of many claims has one or two KiB.
MAX_TOKEN_CHARS: Final = 8 * 1024
# Behind that nobody counts any more.
_LAST_S: Final = 1 << 40

_REQUIRED: Final = ["exp", "sub"]
_NO_JWT: Final = "token: it is no JWT"
_NO_KEY: Final = "token: no key here has signed it"


class TokenAuthenticator:
    """Checks tokens against keys that are read from files, or that `ask_for_keys` has fetched.

    Raises:
        SettingsError: from the start, where files are unusable. Keys that are fetched may be
            missing then: nobody is let in until they come.
    """

    def __init__(self, settings: TokenSettings, ask_for_keys: Callable[[], object]) -> None:
        self._settings = settings
        self._key_files = _files_of(settings)
        self._awaited: AwaitedKeys | None = None
        if settings.jwks_url:
            self._awaited = AwaitedKeys(settings.algorithm, ask_for_keys)
            self._keys = self._awaited.keys
        else:
            self._keys = self._read_keys()

    def _read_keys(self) -> KeySet:
        settings, files = self._settings, self._key_files
        if settings.algorithm == SHARED:
            return read_secret(files[0])
        if settings.jwks_file:
            return read_key_set(files[0], settings.algorithm)
        return read_public_keys(files, settings.algorithm)

    def refresh(self) -> bool:
        """See `Authenticator.refresh`."""
        have_changed = [file.has_changed() for file in self._key_files]
        if any(have_changed):
            try:
                self._keys = self._read_keys()
                log.get_logger().info("auth.keys_read", files=len(self._key_files))
            except SettingsError as error:
                log.get_logger().error("auth.keys_unusable", reason=str(error))
        return False

    def take_keys(self, content: bytes) -> None:
        """See `Authenticator.take_keys`."""
        if self._awaited is not None:
            try:
                self._awaited.take(content)
            except ValueError as error:
                log.get_logger().error("auth.keys_unusable", reason=f"the key set {error}")
            self._keys = self._awaited.keys

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`: a token that was good is so until it expires."""
        return True

    async def close(self) -> None:
        """See `Authenticator.close`: it holds nothing."""

    def check(
        self, credentials: Credentials, peer: Peer, *, now_s: float
    ) -> Verdict | Coroutine[Any, Any, Verdict]:
        """See `Authenticator.check`; a token by a key that is not known yet takes a while."""
        if credentials.token is None:
            return Denied(401, "token: a JWT is expected beside remoteJid")
        token = credentials.token.text
        header = self._header(token)
        if isinstance(header, Denied):
            return header
        key_id = header.get("kid")
        keys = self._keys.of(key_id)
        if self._awaited is not None and not keys:
            if not isinstance(key_id, str):
                return Denied(401, "token: it does not name its key (kid)")
            if self._awaited.is_crowded:
                return Denied(503, CLOSED, 1.0)
            return self._check_later(self._awaited, key_id, credentials.user, token, now_s)
        return self._verdict(credentials.user, token, keys, now_s)

    async def _check_later(
        self, awaited: AwaitedKeys, key_id: str, user: str, token: str, now_s: float
    ) -> Verdict:
        if await awaited.wait_for(key_id):
            return self._verdict(user, token, self._keys.of(key_id), now_s)
        return Denied(401, _NO_KEY) if self._keys.named else Denied(503, CLOSED, 1.0)

    def _header(self, token: str) -> dict[str, Any] | Denied:
        """Return what a token says of itself, of which nothing is believed."""
        if len(token) > MAX_TOKEN_CHARS:
            return Denied(401, f"token: over {MAX_TOKEN_CHARS} characters")
        if not token.isascii():
            return Denied(401, _NO_JWT)
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):  # the latter of what is nested deeply
            return Denied(401, _NO_JWT)
        if "crit" in header:  # of which no extension is known here; not every library looks
            return Denied(401, _NO_JWT)
        if header.get("alg") != self._settings.algorithm:
            return Denied(401, "token: it is not signed as it must be (alg)")
        return header

    def _verdict(self, user: str, token: str, keys: Sequence[Any], now_s: float) -> Verdict:
        claims = self._claims(token, keys)
        if isinstance(claims, Denied):
            return claims
        lack = _lack_in_time(claims, now_s, self._settings.leeway_s)
        if lack:
            return Denied(401, lack)
        if claims["sub"] != user:
            return Denied(401, "token: it is of another user than remoteJid (sub)")
        token_id = claims.get("jti", "")
        if not isinstance(token_id, str):  # not every library looks
            return Denied(401, "token: jti is no text")
        until_s = math.ceil(min(_LAST_S, claims["exp"]) + self._settings.leeway_s)
        return Granted(until_s, token_id, max(0.0, claims.get("iat", 0.0)))

    def _claims(self, token: str, keys: Sequence[Any]) -> dict[str, Any] | Denied:
        """Return what a token says that one of the keys has signed."""
        settings = self._settings
        for key in keys:
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[settings.algorithm],
                    issuer=settings.issuer or None,
                    audience=settings.audience or None,
                    options={
                        "require": _REQUIRED,
                        # By the caller's clock, and here.
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                        "verify_aud": bool(settings.audience),
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, RecursionError) as error:
                return Denied(401, _wrong(error))
        return Denied(401, _NO_KEY)


def _files_of(settings: TokenSettings) -> list[SecretFile]:
    if settings.algorithm == SHARED:
        return [SecretFile(settings.secret_file, "auth_token.secret_file", is_secret=True)]
    if settings.jwks_file:
        return [SecretFile(settings.jwks_file, "auth_token.jwks_file", is_secret=False)]
    return [
        SecretFile(path, "auth_token.key_files", is_secret=False) for path in settings.key_files
    ]


def _lack_in_time(claims: dict[str, Any], now_s: float, leeway_s: float) -> str:
    """Say which time of a token does not hold; empty where all do."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, now_s)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            return f"token: {name} is no time"
    if claims["exp"] <= now_s - leeway_s:
        return "token: it has expired (exp)"
    if claims.get("nbf", now_s) > now_s + leeway_s:
        return "token: it is not valid yet (nbf)"
    if claims.get("iat", now_s) > now_s + leeway_s:
        return "token: it was issued in the future (iat)"
    return ""


def _is_finite(value: float) -> bool:
    return -_LAST_S < value < math.inf


def _wrong(error: Exception) -> str:
    match error:
        case jwt.MissingRequiredClaimError():
            return f"token: it has no {error.claim}"
        case jwt.InvalidIssuerError():
            return "token: it was issued by another (iss)"
        case jwt.InvalidAudienceError():
            return "token: it is for another service (aud)"
        case jwt.exceptions.InvalidSubjectError():
            return "token: sub is no text"
        case _:
            return "token: it cannot be read"
