"""Mode "token": a JWT says who its bearer is (PROTOCOL E1).

The algorithm is the operator's and never the token's. Of a token that is refused a client hears
which claim or part is wrong, and nothing of what a key says.
"""

from __future__ import annotations

import math
from typing import Any, Final

import jwt

from relay import log
from relay.auth.contract import Credentials, Denied, Granted, Peer, Verdict
from relay.auth.denied import NOBODY, read_deny_list
from relay.auth.keys import SHARED, KeySet, read_key_set, read_public_keys, read_secret
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError
from relay.settings.tables import AuthSettings

# A token of many claims has one or two KiB.
MAX_TOKEN_CHARS: Final = 8 * 1024
# Behind that nobody counts any more.
_LAST_S: Final = 1 << 40

_REQUIRED: Final = ["exp", "sub"]
_NO_JWT: Final = "token: it is no JWT"


class TokenAuthenticator:
    """Checks tokens against keys and a deny list that are read from files.

    Raises:
        SettingsError: from the start, where one of them is unusable.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._key_files, self._deny_file = _files_of(settings)
        self._keys = self._read_keys()
        self._denied = NOBODY if self._deny_file is None else read_deny_list(self._deny_file)

    def _read_keys(self) -> KeySet:
        settings, files = self._settings, self._key_files
        if settings.token_algorithm == SHARED:
            return read_secret(files[0])
        if settings.token_jwks_file:
            return read_key_set(files[0], settings.token_algorithm)
        return read_public_keys(files, settings.token_algorithm)

    def refresh(self) -> bool:
        """See `Authenticator.refresh`."""
        changed = False
        have_changed = [file.has_changed() for file in self._key_files]
        if any(have_changed):
            try:
                self._keys = self._read_keys()
                log.get_logger().info("auth.keys_read", files=len(self._key_files))
            except SettingsError as error:
                log.get_logger().error("auth.keys_unusable", reason=str(error))
        if self._deny_file is not None and self._deny_file.has_changed():
            try:
                self._denied = read_deny_list(self._deny_file)
                changed = True
                log.get_logger().info(
                    "auth.deny_list_read",
                    users=len(self._denied.users),
                    tokens=len(self._denied.token_ids),
                )
            except SettingsError as error:
                log.get_logger().error("auth.deny_list_unusable", reason=str(error))
        return changed

    def holds(self, user: str, granted: Granted) -> bool:
        """See `Authenticator.holds`."""
        return not (user in self._denied.users or granted.token_id in self._denied.token_ids)

    async def close(self) -> None:
        """See `Authenticator.close`: it holds nothing."""

    def check(self, credentials: Credentials, peer: Peer, *, now_s: float) -> Verdict:
        """See `Authenticator.check`."""
        if credentials.token is None:
            return Denied(401, "token: a JWT is expected beside remoteJid")
        claims = self._claims(credentials.token.text)
        if isinstance(claims, Denied):
            return claims
        lack = _lack_in_time(claims, now_s, self._settings.token_leeway_s)
        if lack:
            return Denied(401, lack)
        if claims["sub"] != credentials.user:
            return Denied(401, "token: it is of another user than remoteJid (sub)")
        until_s = math.ceil(min(_LAST_S, claims["exp"]) + self._settings.token_leeway_s)
        granted = Granted(until_s, claims.get("jti", ""))
        if credentials.user in self._denied.users:
            return Denied(403, "this user may not log in")
        if granted.token_id in self._denied.token_ids:
            return Denied(401, "token: it was revoked")
        return granted

    def _claims(self, token: str) -> dict[str, Any] | Denied:
        """Return what a token says that one of the keys has signed."""
        settings = self._settings
        if len(token) > MAX_TOKEN_CHARS:
            return Denied(401, f"token: over {MAX_TOKEN_CHARS} characters")
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, RecursionError):  # the latter of what is nested deeply
            return Denied(401, _NO_JWT)
        if "crit" in header:  # of which no extension is known here; not every library looks
            return Denied(401, _NO_JWT)
        if header.get("alg") != settings.token_algorithm:
            return Denied(401, "token: it is not signed as it must be (alg)")
        for key in self._keys.of(header.get("kid")):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=[settings.token_algorithm],
                    issuer=settings.token_issuer or None,
                    audience=settings.token_audience or None,
                    options={
                        "require": _REQUIRED,
                        # By the caller's clock, and here.
                        "verify_exp": False,
                        "verify_nbf": False,
                        "verify_iat": False,
                        "verify_aud": bool(settings.token_audience),
                    },
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, RecursionError) as error:
                return Denied(401, _wrong(error))
        return Denied(401, "token: no key here has signed it")


def _files_of(settings: AuthSettings) -> tuple[list[SecretFile], SecretFile | None]:
    if settings.token_algorithm == SHARED:
        keys = [SecretFile(settings.token_secret_file, "auth.token_secret_file", is_secret=True)]
    elif settings.token_jwks_file:
        keys = [SecretFile(settings.token_jwks_file, "auth.token_jwks_file", is_secret=False)]
    else:
        keys = [
            SecretFile(path, "auth.token_key_files", is_secret=False)
            for path in settings.token_key_files
        ]
    deny = settings.deny_file
    return keys, SecretFile(deny, "auth.deny_file", is_secret=False) if deny else None


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
