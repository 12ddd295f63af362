"""Mode "token": which tokens let whom in (PROTOCOL E1)."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.contract import Authenticator, Credentials, Denied, Granted, Peer
from relay.auth.keys import KeySet
from relay.auth.modes import authenticator_of
from relay.auth.token import MAX_TOKEN_CHARS, TokenAuthenticator
from relay.errors import SettingsError
from relay.protocol.stanza import Token
from relay.settings.tables import AuthSettings, Settings, TokenSettings
from tests.auth.signing import SECRET, jwk, private_key, public_pem, write

ALICE, BOB = "917069852821", "919428284313"
NOW = 1_700_000_000
CLAIMS = {"sub": ALICE, "exp": NOW + 60}
ALGORITHMS = ["HS256", "EdDSA", "RS256", "ES256"]
KEYS = {name: private_key(name) for name in ("EdDSA", "RS256", "ES256")}


def token_settings(directory: Path, algorithm: str = "HS256", **more: Any) -> TokenSettings:
    if algorithm == "HS256":
        files: dict[str, Any] = {"secret_file": write(directory / "secret", SECRET + b"\n")}
    else:
        pem = write(directory / "key.pem", public_pem(KEYS[algorithm]), 0o644)
        files = {"key_files": (pem,)}
    settings: dict[str, Any] = {"algorithm": algorithm, **files, **more}
    return TokenSettings(**settings)


def mode_of(settings: TokenSettings) -> TokenAuthenticator:
    return TokenAuthenticator(settings, lambda: None)


def denying(settings: TokenSettings, deny: Path) -> Authenticator:
    auth = AuthSettings(mode="token", deny_file=str(deny))
    mode = authenticator_of(Settings(auth=auth, auth_token=settings))
    assert mode is not None
    return mode


@pytest.fixture
def mode(tmp_path: Path) -> TokenAuthenticator:
    return mode_of(token_settings(tmp_path))


def signed(algorithm: str = "HS256", *, key: Any = None, kid: str = "", **claims: Any) -> str:
    said = {**CLAIMS, **claims}
    said = {name: value for name, value in said.items() if value is not ...}
    key = key or (SECRET if algorithm == "HS256" else KEYS[algorithm])
    return jwt.encode(said, key, algorithm, headers={"kid": kid} if kid else None)


def verdict_on(
    mode: Authenticator, token: str | None, user: str = ALICE, now_s: float = NOW
) -> Granted | Denied:
    shown = None if token is None else Token(token)
    verdict = mode.check(Credentials(user, shown), Peer(), now_s=now_s)
    assert isinstance(verdict, Granted | Denied)
    return verdict


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_that_is_signed_lets_its_user_in_until_it_expires(
    tmp_path: Path, algorithm: str
) -> None:
    mode = mode_of(token_settings(tmp_path, algorithm))

    assert verdict_on(mode, signed(algorithm, jti="t1")) == Granted(NOW + 60 + 5, "t1")


def unsigned(header: object, payload: object = CLAIMS, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "token: a JWT is expected beside remoteJid"),
        ("", "token: it is no JWT"),
        ("secret", "token: it is no JWT"),
        ("a.b.c", "token: it is no JWT"),
        ("\u00e9" * 20, "token: it is no JWT"),
        ("x" * (MAX_TOKEN_CHARS + 1), "token: over 8192 characters"),
        (unsigned({"alg": "none"}), "token: it is not signed as it must be (alg)"),
        (unsigned({"alg": "None"}), "token: it is not signed as it must be (alg)"),
        (unsigned({"typ": "JWT"}), "token: it is not signed as it must be (alg)"),
        (unsigned({"alg": ["HS256"]}), "token: it is not signed as it must be (alg)"),
        (unsigned({"alg": "HS256"}), "token: no key here has signed it"),
        (unsigned([1]), "token: it is no JWT"),
        (signed(key=SECRET + b"!"), "token: no key here has signed it"),
        (signed()[:-4], "token: no key here has signed it"),
        (jwt.encode(CLAIMS, SECRET * 2, "HS512"), "token: it is not signed as it must be (alg)"),
        (
            jwt.encode(CLAIMS, SECRET, "HS256", headers={"crit": ["b64"]}),
            "token: it is no JWT",
        ),
        (signed(exp=...), "token: it has no exp"),
        (signed(sub=...), "token: it has no sub"),
        (signed(sub=BOB), "token: it is of another user than remoteJid (sub)"),
        (
            signed(sub=f"{ALICE}@s.whatsapp.net"),
            "token: it is of another user than remoteJid (sub)",
        ),
        (signed(sub=5), "token: sub is no text"),
        (signed(exp=NOW - 6), "token: it has expired (exp)"),
        (signed(exp="soon"), "token: exp is no time"),
        (signed(exp=True), "token: exp is no time"),
        (signed(exp=float("nan")), "token: exp is no time"),
        (signed(exp=float("inf")), "token: exp is no time"),
        (signed(nbf=NOW + 6), "token: it is not valid yet (nbf)"),
        (signed(iat=NOW + 6), "token: it was issued in the future (iat)"),
        (signed(nbf="x"), "token: nbf is no time"),
    ],
)
def test_every_other_token_is_refused_with_a_reason(
    mode: Authenticator, token: str | None, reason: str
) -> None:
    assert verdict_on(mode, token) == Denied(401, reason)


@pytest.mark.parametrize(
    "claims", [{"exp": NOW - 4}, {"nbf": NOW + 5}, {"iat": NOW + 5}, {"exp": NOW + 0.5}]
)
def test_clocks_may_be_off_by_the_leeway(mode: TokenAuthenticator, claims: dict[str, Any]) -> None:
    assert isinstance(verdict_on(mode, signed(**claims)), Granted)


def test_a_token_for_ever_is_granted_for_a_time_that_can_be_counted(
    mode: TokenAuthenticator,
) -> None:
    granted = verdict_on(mode, signed(exp=10**400))

    assert isinstance(granted, Granted)
    assert granted.until_s == (1 << 40) + 5


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256", "ES256"])
def test_a_public_key_is_no_secret(tmp_path: Path, algorithm: str) -> None:
    """Who signs by HS256 with the public key, as a confused verifier would take it."""
    mode = mode_of(token_settings(tmp_path, algorithm))
    hs256 = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    head = unsigned({"alg": "HS256", "typ": "JWT"}).rpartition(".")[0].encode()
    signature = hs256.sign(head, public_pem(KEYS[algorithm]))
    forged = head + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")

    assert verdict_on(mode, forged.decode()) == Denied(
        401, "token: it is not signed as it must be (alg)"
    )
    assert verdict_on(mode, signed("HS256")) == Denied(
        401, "token: it is not signed as it must be (alg)"
    )


def test_a_header_that_is_nested_deeply_is_refused_like_any_other(
    mode: TokenAuthenticator,
) -> None:
    head = base64.urlsafe_b64encode(b"[" * 6000).decode()

    assert verdict_on(mode, f"{head[:8000]}.e30.x") == Denied(401, "token: it is no JWT")


@given(st.text(alphabet=".eyJhbGciOiIxIn0_-A1=\u00e9 ", max_size=200))
def test_any_text_is_refused(text: str) -> None:
    mode = TokenAuthenticator.__new__(TokenAuthenticator)
    mode._settings = TokenSettings(secret_file="x")
    mode._keys, mode._awaited = KeySet({}, (SECRET,)), None

    verdict = verdict_on(mode, text)

    assert isinstance(verdict, Denied)
    assert verdict.code == 401


def test_issuer_and_audience_are_checked_where_they_are_set(tmp_path: Path) -> None:
    settings = token_settings(tmp_path, issuer="https://id.example", audience="chat")
    mode = mode_of(settings)

    assert isinstance(verdict_on(mode, signed(iss="https://id.example", aud="chat")), Granted)
    assert isinstance(
        verdict_on(mode, signed(iss="https://id.example", aud=["mail", "chat"])), Granted
    )
    for claims, reason in [
        ({"aud": "chat"}, "token: it has no iss"),
        ({"iss": "https://other", "aud": "chat"}, "token: it was issued by another (iss)"),
        ({"iss": "https://id.example"}, "token: it has no aud"),
        ({"iss": "https://id.example", "aud": "mail"}, "token: it is for another service (aud)"),
    ]:
        assert verdict_on(mode, signed(**claims)) == Denied(401, reason)


def test_where_none_is_set_any_issuer_and_audience_will_do(mode: TokenAuthenticator) -> None:
    assert isinstance(verdict_on(mode, signed(iss="whoever", aud=["a", "b"])), Granted)


# ------------------------------------------------------------------------------------- the keys


def test_either_of_two_keys_may_have_signed_while_they_are_changed(tmp_path: Path) -> None:
    other = private_key("EdDSA")
    new = write(tmp_path / "new.pem", public_pem(other))
    old = write(tmp_path / "old.pem", public_pem(KEYS["EdDSA"]))
    settings = TokenSettings(algorithm="EdDSA", key_files=(new, old))
    mode = mode_of(settings)

    assert isinstance(verdict_on(mode, signed("EdDSA")), Granted)
    assert isinstance(verdict_on(mode, signed("EdDSA", key=other, kid="any")), Granted)
    assert isinstance(verdict_on(mode, signed("EdDSA", key=private_key("EdDSA"))), Denied)


def jwks_mode(directory: Path, *entries: object) -> TokenAuthenticator:
    path = write(directory / "jwks.json", json.dumps({"keys": entries}).encode(), 0o644)
    return mode_of(TokenSettings(algorithm="EdDSA", jwks_file=path))


def test_a_token_names_its_key_of_a_jwks(tmp_path: Path) -> None:
    other = private_key("EdDSA")
    mode = jwks_mode(
        tmp_path, jwk(KEYS["EdDSA"], "EdDSA", kid="a"), jwk(other, "EdDSA", kid="b", use="sig")
    )

    assert isinstance(verdict_on(mode, signed("EdDSA", kid="a")), Granted)
    assert isinstance(verdict_on(mode, signed("EdDSA", key=other, kid="b")), Granted)
    for token in (signed("EdDSA", kid="b"), signed("EdDSA", kid="c"), signed("EdDSA")):
        assert verdict_on(mode, token) == Denied(401, "token: no key here has signed it")


def test_keys_of_a_jwks_that_are_for_something_else_are_left_out(tmp_path: Path) -> None:
    key = KEYS["EdDSA"]
    mode = jwks_mode(
        tmp_path,
        jwk(key, "EdDSA", kid="good"),
        jwk(key, "EdDSA"),
        jwk(key, "EdDSA", kid="enc", use="enc"),
        jwk(key, "EdDSA", kid="other", alg="ES256"),
        jwk(KEYS["RS256"], "RS256", kid="rsa"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
        {"kid": "empty"},
        "text",
        None,
    )

    assert set(mode._keys.named) == {"good"}


def test_keys_are_read_again_when_their_file_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mode = mode_of(token_settings(tmp_path))
    other = b"another secret of thirty-two bytes or more"
    assert not mode.refresh()

    replace(tmp_path / "secret", other)
    mode.refresh()

    assert isinstance(verdict_on(mode, signed(key=other)), Granted)
    assert isinstance(verdict_on(mode, signed()), Denied)


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_keys_that_have_become_unusable_stay_as_they_were(
    tmp_path: Path, content: bytes | None
) -> None:
    mode = mode_of(token_settings(tmp_path))

    if content is None:
        (tmp_path / "secret").unlink()
    else:
        replace(tmp_path / "secret", content)
    mode.refresh()

    assert isinstance(verdict_on(mode, signed()), Granted)


def test_what_is_unusable_is_told_once_and_read_again_when_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at each second, by each front."""
    other = b"another secret of thirty-two bytes or more"
    mode = mode_of(token_settings(tmp_path))
    read: list[Path] = []
    before = mode._read_keys

    def read_keys() -> KeySet:
        read.append(tmp_path)
        return before()

    monkeypatch.setattr(mode, "_read_keys", read_keys)
    write(tmp_path / "secret", other, 0o644)  # everybody may read it

    for _ in range(3):
        mode.refresh()
    assert len(read) == 1
    assert isinstance(verdict_on(mode, signed()), Granted)

    (tmp_path / "secret").chmod(0o600)
    for _ in range(3):
        mode.refresh()
    assert len(read) == 2
    assert isinstance(verdict_on(mode, signed(key=other)), Granted)


def replace(path: Path, content: bytes) -> None:
    write(path.with_name("new"), content)
    path.with_name("new").rename(path)


@pytest.mark.parametrize(
    ("iat", "issued_s"), [(..., 0), (NOW - 9, NOW - 9), (NOW - 8.5, NOW - 8.5), (-5, 0)]
)
def test_what_is_granted_tells_when_the_token_was_issued(
    mode: TokenAuthenticator, iat: Any, issued_s: float
) -> None:
    verdict = verdict_on(mode, signed(iat=iat))

    assert isinstance(verdict, Granted)
    assert verdict.issued_s == issued_s


# ------------------------------------------------------------------------------- the deny list


def test_a_user_or_token_that_is_denied_is_let_in_no_more(tmp_path: Path) -> None:
    deny = tmp_path / "deny"
    deny.write_text("# nobody yet\n")
    mode = denying(token_settings(tmp_path), deny)
    granted = verdict_on(mode, signed(jti="t1"))
    assert isinstance(granted, Granted)
    assert mode.holds(ALICE, granted)

    replace(deny, b"token t1\n")
    assert mode.refresh()
    assert verdict_on(mode, signed(jti="t1")) == Denied(401, "token: it was revoked")
    assert not mode.holds(ALICE, granted)
    assert isinstance(verdict_on(mode, signed(jti="t2")), Granted)
    assert isinstance(verdict_on(mode, signed()), Granted)

    replace(deny, f"user {ALICE}@s.whatsapp.net\n".encode())
    assert mode.refresh()
    assert verdict_on(mode, signed(jti="t2")) == Denied(403, "this user may not log in")
    assert not mode.holds(ALICE, Granted())
    assert mode.holds(BOB, Granted())


def test_a_deny_list_that_has_become_unusable_stays_as_it_was(tmp_path: Path) -> None:
    deny = tmp_path / "deny"
    deny.write_text(f"user {ALICE}\n")
    mode = denying(token_settings(tmp_path), deny)

    replace(deny, b"everybody\n")

    assert not mode.refresh()
    assert verdict_on(mode, signed()) == Denied(403, "this user may not log in")


# --------------------------------------------------------------------------------- at the start


def test_mode_open_has_nobody_who_checks() -> None:
    assert authenticator_of(Settings()) is None


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0, "cannot be read: No such file or directory"),
        (b"", 0o600, "is empty"),
        (b" \n", 0o600, "is empty"),
        (SECRET, 0o604, "may be used by everyone (mode 0604); chmod o= "),
        (SECRET, 0o602, "may be used by everyone (mode 0602); chmod o= "),
        (b"x" * 31 + b"\n", 0o600, "has 31 bytes, and 32 or more are needed; `openssl rand"),
        (b"x" * (1024 * 1024 + 1), 0o600, "has over 1048576 bytes"),
    ],
)
def test_a_secret_that_is_unusable_refuses_the_start(
    tmp_path: Path, content: bytes | None, mode: int, said: str
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        write(path, content, mode)

    with pytest.raises(SettingsError) as caught:
        mode_of(TokenSettings(secret_file=str(path)))

    assert str(caught.value).startswith(f"auth_token.secret_file: {path} {said}")
    assert "0123456789" not in str(caught.value)


def test_a_directory_or_pipe_is_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: Is a directory, and must be a file"):
        mode_of(TokenSettings(secret_file=str(tmp_path)))
