"""Tokens for users that nobody knew before the run: signed as each logs in."""

from __future__ import annotations

import time
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

_LEAST_SECRET_BYTES: Final = 32  # RFC 7518, 3.2
_TTL_S: Final = 24 * 3600  # longer than any run


class Signer:
    """Makes tokens by one key."""

    def __init__(self, content: bytes) -> None:
        """Take a private key in PEM, or a secret for HS256.

        Raises:
            ValueError: it is neither.
        """
        self._key, self.algorithm = _key_in(content)

    def token_of(self, user: str) -> str:
        """Return a token of `user`, good for a day."""
        claims = {"sub": user, "exp": int(time.time()) + _TTL_S}
        return jwt.encode(claims, self._key, self.algorithm)


def _key_in(content: bytes) -> tuple[Any, str]:
    if b"PRIVATE KEY" not in content:
        secret = content.rstrip(b"\r\n")
        if len(secret) < _LEAST_SECRET_BYTES:
            raise ValueError(f"a secret of {len(secret)} bytes; {_LEAST_SECRET_BYTES} are needed")
        return secret, "HS256"
    try:
        key = load_pem_private_key(content, password=None)
    except (TypeError, UnsupportedAlgorithm) as error:
        raise ValueError(str(error)) from error
    match key:
        case Ed25519PrivateKey():
            return key, "EdDSA"
        case RSAPrivateKey():
            return key, "RS256"
        case EllipticCurvePrivateKey():
            return key, "ES256"
        case _:
            raise ValueError("a private key that is not Ed25519, RSA or P-256")
