"""The keys that tokens are signed with, as files of an operator hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeGuard

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError

Algorithm = Literal["HS256", "EdDSA", "RS256", "ES256"]
SHARED: Final = "HS256"  # the one whose keys are secrets

# RFC 7518, 3.2: a key of the hash's size or larger.
LEAST_SECRET_BYTES: Final = 32
# RFC 7518, 3.3.
LEAST_RSA_BITS: Final = 2048
# Above that a look at a signature, good or bad, takes longer than all the rest of a login.
MOST_RSA_BITS: Final = 8192
# A token that names no key is tried with each of those that have no name.
MOST_NAMELESS: Final = 8
# Keys of a set that are looked at, each for up to 0.2 ms of a front's loop. Publishers have ten.
MOST_NAMED: Final = 100

_KINDS: Final = {"HS256": "oct", "EdDSA": "OKP", "RS256": "RSA", "ES256": "EC"}  # RFC 7518, 6.1

_decode_set = msgspec.json.Decoder(dict[str, Any]).decode


class KeySet(NamedTuple):
    """Keys of one algorithm: those that a token names by `kid`, and those that have no name."""

    named: Mapping[str, Any]
    nameless: Sequence[Any]

    def of(self, key_id: str | None) -> Sequence[Any]:
        """Return the keys that a token may be signed with, which has or lacks that `kid`."""
        if not self.named:
            return self.nameless  # whatever the token calls them
        if key_id is None or key_id not in self.named:
            return ()
        return (self.named[key_id],)


def read_secret(file: SecretFile) -> KeySet:
    """Return the secret of HS256: the file's bytes but for a line end behind them.

    Raises:
        SettingsError: it is unusable.
    """
    secret = file.read().rstrip(b"\r\n")
    if len(secret) < LEAST_SECRET_BYTES:
        raise SettingsError(
            f"{file.setting}: {file.path} has {len(secret)} bytes, and {LEAST_SECRET_BYTES} or more"
            " are needed; `openssl rand -base64 48` makes some"
        )
    return KeySet({}, (secret,))


def read_public_keys(files: Sequence[SecretFile], algorithm: Algorithm) -> KeySet:
    """Return the public keys in PEM files, one each.

    Raises:
        SettingsError: some are unusable, or for another algorithm; it tells of each.
    """
    keys: list[Any] = []
    problems: list[str] = []
    for file in files:
        try:
            keys.append(_public_key(file, algorithm))
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*problems)
    return KeySet({}, tuple(keys))


def _public_key(file: SecretFile, algorithm: Algorithm) -> Any:
    content = file.read()
    if b"PRIVATE KEY" in content:
        raise SettingsError(
            f"{file.setting}: {file.path} has a private key, which the relay must not know;"
            " `openssl pkey -pubout` makes the public one of it"
        )
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{file.setting}: {file.path} is no public key in PEM") from None
    lack = _lack(key, algorithm)
    if lack:
        raise SettingsError(f"{file.setting}: {file.path} {lack}")
    return key


def read_key_set(file: SecretFile, algorithm: Algorithm) -> KeySet:
    """Return the keys of a JWKS file that have a `kid` and are for that algorithm.

    Raises:
        SettingsError: it is unusable, or has none.
    """
    try:
        return parse_key_set(file.read(), algorithm)
    except ValueError as error:
        raise SettingsError(f"{file.setting}: {file.path} {error}") from None


def parse_key_set(content: bytes, algorithm: Algorithm) -> KeySet:
    """Return the keys of a JWKS that have a `kid` and are for that algorithm; the rest is ignored.

    Raises:
        ValueError: it is none, or has none; it reads on from what was parsed.
    """
    try:
        entries = _decode_set(content).get("keys")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("is no JWKS") from None
    keys: dict[str, Any] = {}
    looked_at = 0
    for entry in entries if isinstance(entries, list) else ():
        if not _is_for(entry, algorithm):
            continue
        looked_at += 1  # a name may be there many times
        if looked_at > MOST_NAMED:
            raise ValueError(f"has over {MOST_NAMED} keys for {algorithm}")
        key = _key_of(entry, algorithm)
        if key is not None:
            keys[entry["kid"]] = key
    if not keys:
        raise ValueError(f"has no key with a kid that is for {algorithm}")
    return KeySet(keys, ())


def _is_for(entry: object, algorithm: Algorithm) -> TypeGuard[dict[str, Any]]:
    """Tell whether an entry of a JWKS says that it is for us, whatever its key is."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return False
    if entry.get("use", "sig") != "sig" or entry.get("alg", algorithm) != algorithm:
        return False
    if entry.get("kty") != _KINDS[algorithm]:
        return False
    operations = entry.get("key_ops", ["verify"])
    return isinstance(operations, list) and "verify" in operations


def _key_of(entry: dict[str, Any], algorithm: Algorithm) -> Any:
    """Return the key of such an entry, None where it is none for us."""
    try:
        key = jwt.PyJWK(entry, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return None if _lack(key, algorithm) else key


def _lack(key: object, algorithm: Algorithm) -> str:
    """Say why a public key cannot be of an algorithm; empty where it can."""
    match algorithm:
        case "EdDSA" if isinstance(key, Ed25519PublicKey):
            return ""
        case "ES256" if isinstance(key, EllipticCurvePublicKey) and isinstance(
            key.curve, SECP256R1
        ):
            return ""
        case "RS256" if isinstance(key, RSAPublicKey):
            if key.key_size < LEAST_RSA_BITS:
                return f"has {key.key_size} bits, and {LEAST_RSA_BITS} or more are needed"
            if key.key_size > MOST_RSA_BITS:
                return f"has {key.key_size} bits, and {MOST_RSA_BITS} at most are taken"
            return ""
        case _:
            return f"is no key for {algorithm}"
