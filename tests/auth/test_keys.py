"""Keys as files of an operator hold them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay.auth.keys import Algorithm, KeySet, read_key_set, read_public_keys
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError
from tests.auth.signing import jwk, private_key, private_pem, public_pem, write


def public_file(directory: Path, content: bytes) -> SecretFile:
    path = write(directory / "key", content, 0o644)
    return SecretFile(path, "auth_token.key_files", is_secret=False)


def test_a_key_of_another_kind_or_that_is_weak_is_refused(tmp_path: Path) -> None:
    cases: list[tuple[str, Algorithm, str]] = [
        ("EdDSA", "ES256", "is no key for ES256"),
        ("ES384", "ES256", "is no key for ES256"),
        ("ES256", "EdDSA", "is no key for EdDSA"),
        ("EdDSA", "RS256", "is no key for RS256"),
        ("weak RS256", "RS256", "has 1024 bits, and 2048 or more are needed"),
    ]
    for made, wanted, said in cases:
        file = public_file(tmp_path, public_pem(private_key(made)))
        with pytest.raises(SettingsError) as caught:
            read_public_keys([file], wanted)
        assert str(caught.value) == f"auth_token.key_files: {file.path} {said}"


def test_a_private_key_or_no_key_is_refused(tmp_path: Path) -> None:
    file = public_file(tmp_path, private_pem(private_key("EdDSA")))
    with pytest.raises(SettingsError, match="has a private key, which the relay must not know"):
        read_public_keys([file], "EdDSA")

    file = public_file(tmp_path, b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(SettingsError, match="is no public key in PEM"):
        read_public_keys([file], "EdDSA")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"keys", "is no JWKS"),
        (b"[]", "is no JWKS"),
        (b"\xff", "is no JWKS"),
        (b"[" * 100_000, "is no JWKS"),
        (b"{}", "has no key with a kid that is for EdDSA"),
        (b'{"keys": 5}', "has no key with a kid that is for EdDSA"),
        (b'{"keys": []}', "has no key with a kid that is for EdDSA"),
        (b'{"keys": [{"kid": "a", "kty": "OKP"}]}', "has no key with a kid that is for EdDSA"),
    ],
)
def test_a_jwks_without_a_key_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    file = public_file(tmp_path, content)

    with pytest.raises(SettingsError) as caught:
        read_key_set(file, "EdDSA")

    assert str(caught.value) == f"auth_token.key_files: {file.path} {said}"


def test_a_weak_key_of_a_jwks_is_left_out(tmp_path: Path) -> None:
    entries = [
        jwk(private_key("weak RS256"), "RS256", kid="weak"),
        jwk(private_key("RS256"), "RS256", kid="good"),
    ]
    file = public_file(tmp_path, json.dumps({"keys": entries}).encode())

    assert set(read_key_set(file, "RS256").named) == {"good"}


def test_a_token_without_a_name_of_its_key_is_tried_with_those_that_have_none() -> None:
    named, nameless = KeySet({"a": "A", "b": "B"}, ()), KeySet({}, ("C", "D"))

    assert [list(named.of(name)) for name in ("a", "b", "c", None)] == [["A"], ["B"], [], []]
    assert [list(nameless.of(name)) for name in ("a", None)] == [["C", "D"], ["C", "D"]]
