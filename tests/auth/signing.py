"""Keys and tokens of an operator, as other programs make them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.hazmat.primitives.serialization import PublicFormat as Public

SECRET = b"0123456789abcdef0123456789abcdef-secret"


def private_key(algorithm: str) -> Any:
    match algorithm:
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        case "weak RS256":
            return rsa.generate_private_key(public_exponent=65537, key_size=1024)
    raise ValueError(algorithm)


def public_pem(key: Any) -> bytes:
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def jwk(key: Any, algorithm: str, **more: object) -> dict[str, Any]:
    """Return the public half of a private key as an entry of a JWKS."""
    kinds = {"EdDSA": jwt.algorithms.OKPAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
    kind: Any = kinds.get(algorithm, jwt.algorithms.RSAAlgorithm)
    entry: dict[str, Any] = json.loads(kind.to_jwk(key.public_key()))
    return {**entry, **more}


def write(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)
