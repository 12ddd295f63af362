"""Tokens that the generator makes, as a relay would check them."""

from __future__ import annotations

import jwt
import pytest

from relay.loadgen.traffic.signer import Signer
from tests.auth.signing import SECRET, private_key, private_pem


def test_a_secret_signs_by_hs256() -> None:
    token = Signer(SECRET + b"\n").token_of("u1")

    assert jwt.decode(token, SECRET, ["HS256"])["sub"] == "u1"


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256", "ES256"])
def test_a_private_key_signs_by_its_own_algorithm(algorithm: str) -> None:
    key = private_key(algorithm)

    token = Signer(private_pem(key)).token_of("u1")

    assert jwt.decode(token, key.public_key(), [algorithm])["sub"] == "u1"


@pytest.mark.parametrize(
    "content", [b"", b"short", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever the library says of it
        Signer(content)
