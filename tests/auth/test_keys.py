"""Keys as files of an operator hold them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.keys import (
    MOST_NAMED,
    Algorithm,
    KeySet,
    parse_key_set,
    read_key_set,
    read_public_keys,
)
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


# ---------------------------------------------------------------------------- sets of others


def test_what_a_set_says_of_secrets_and_private_keys_is_ignored() -> None:
    key = private_key("EdDSA")
    private = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(key))
    rsa = private_key("RS256")
    entries = [
        jwk(key, "EdDSA", kid="good"),
        {**private, "kid": "private"},
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa)), "kid": "private-rsa"},
        {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "oct", "alg": "EdDSA"},
        jwk(key, "EdDSA", kid="signs", key_ops=["sign"]),
        jwk(key, "EdDSA", kid="odd", key_ops="verify"),
        jwk(key, "EdDSA", kid="both", key_ops=["sign", "verify"]),
        jwk(key, "EdDSA", kid=["a"]),
        jwk(key, "EdDSA", kid=5),
    ]

    keys = parse_key_set(json.dumps({"keys": entries}).encode(), "EdDSA")

    assert set(keys.named) == {"good", "both"}
    assert set(
        parse_key_set(json.dumps({"keys": [jwk(rsa, "RS256", kid="r")]}).encode(), "RS256").named
    ) == {"r"}
    with pytest.raises(ValueError, match="no key with a kid"):
        parse_key_set(json.dumps({"keys": [entries[2]]}).encode(), "RS256")


def test_of_two_keys_of_one_name_one_is_there(tmp_path: Path) -> None:
    entries = [jwk(private_key("EdDSA"), "EdDSA", kid="k") for _ in range(2)]
    keys = parse_key_set(json.dumps({"keys": entries}).encode(), "EdDSA")

    assert len(keys.of("k")) == 1
    assert keys.of("") == keys.of(None) == ()


@pytest.mark.parametrize("bits", [1024, 16_384])
def test_an_rsa_key_is_neither_too_weak_nor_too_dear(bits: int) -> None:
    numbers = RSAPublicNumbers(65537, (1 << (bits - 1)) + 1)
    entry = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(numbers.public_key()))

    with pytest.raises(ValueError, match="no key with a kid"):
        parse_key_set(json.dumps({"keys": [{**entry, "kid": "k"}]}).encode(), "RS256")


ENTRIES = {name: jwk(private_key(name), name, kid="k") for name in ("EdDSA", "ES256", "RS256")}
ODD: list[object] = [
    None,
    True,
    -1,
    1.5,
    "",
    "a",
    "AQAB",
    [],
    {},
    "A" * 400,
    "\u00e9",
    "====",
    "P-256",
    "sig",
    [[]],
]


@given(
    st.sampled_from(["EdDSA", "ES256", "RS256"]),
    st.sampled_from(["EdDSA", "ES256", "RS256"]),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops", "d", "kid"]),
        st.sampled_from(ODD),
        max_size=4,
    ),
)
def test_an_entry_of_any_shape_is_a_key_or_none(of: str, wanted: Any, odd: dict[str, Any]) -> None:
    entry = {**ENTRIES[of], **odd}
    with suppress(ValueError):  # and nothing else
        assert parse_key_set(json.dumps({"keys": [entry]}).encode(), wanted).named


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'{"keys": null}',
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": "k"}',
        b'{"keys": [[]]}',
        b'{"Keys": [1]}',
        b"[" * 10**6,
        b'{"keys":' + b"[" * 10**5,
        b"\xff",
    ],
)
def test_what_is_no_set_or_an_empty_one_is_never_taken(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no JWKS|has no key"):
        parse_key_set(content, "EdDSA")


@pytest.mark.parametrize("name", ["{}", "the same"])
def test_a_set_of_many_keys_is_refused_before_they_are_all_looked_at(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    key = jwk(private_key("EdDSA"), "EdDSA", kid="")
    looked_at = 0
    make = jwt.PyJWK

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return make(*given, **more)

    monkeypatch.setattr(jwt, "PyJWK", counted)

    def parse(number: int) -> KeySet:
        keys = [{**key, "kid": name.format(n)} for n in range(number)]
        return parse_key_set(json.dumps({"keys": keys}).encode(), "EdDSA")

    assert parse(MOST_NAMED).named
    looked_at = 0
    with pytest.raises(ValueError, match="has over 100 keys for EdDSA"):
        parse(9_000)
    assert looked_at == MOST_NAMED


def test_keys_for_others_do_not_count() -> None:
    other = jwk(private_key("RS256"), "RS256", kid="")
    others = [{**other, "kid": str(n)} for n in range(200)]
    ours = jwk(private_key("EdDSA"), "EdDSA", kid="ours")

    keys = parse_key_set(json.dumps({"keys": [*others, ours]}).encode(), "EdDSA")

    assert set(keys.named) == {"ours"}
