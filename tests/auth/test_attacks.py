"""Tokens as whoever wants in would make them, some with the secret in hand: a leak of the issuer's.

What is granted is what the issuer has signed and no more; what is refused costs little.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from pathlib import Path

import pytest

from relay.auth.contract import Credentials, Denied, Granted, Peer
from relay.auth.token import MAX_TOKEN_CHARS, TokenAuthenticator
from relay.protocol.stanza import Token
from relay.settings.tables import TokenSettings
from tests.auth.signing import SECRET, write

ALICE = "917069852821"
NOW = 1_700_000_000
HEADER = b'{"alg":"HS256"}'
EXP = b'"exp":1700000060'
GOOD = b'{"sub":"917069852821",' + EXP
# Far above what any of them takes, and far below what a front could not spare.
MOST_S = 0.1


@pytest.fixture(scope="module")
def mode(tmp_path_factory: pytest.TempPathFactory) -> TokenAuthenticator:
    secret = write(Path(tmp_path_factory.mktemp("keys")) / "secret", SECRET)
    return TokenAuthenticator(TokenSettings(secret_file=secret), lambda: None)


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes) -> str:
    said = f"{part(header)}.{part(payload)}"
    return f"{said}.{part(hmac.new(SECRET, said.encode(), hashlib.sha256).digest())}"


def verdict_on(mode: TokenAuthenticator, token: str) -> Granted | Denied:
    began_s = time.thread_time()
    verdict = mode.check(Credentials(ALICE, Token(token)), Peer(), now_s=NOW)
    assert time.thread_time() - began_s < MOST_S
    assert isinstance(verdict, Granted | Denied)
    return verdict


@pytest.mark.parametrize(
    "token",
    [
        signed(HEADER, GOOD + b"}"),
        # Where else the keys would be is the client's word.
        signed(
            b'{"alg":"HS256","jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/"}', GOOD + b"}"
        ),
        signed(b'{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"x5c":["AAAA"]}', GOOD + b"}"),
        # The name of a key is looked up, and opened nowhere.
        signed(b'{"alg":"HS256","kid":"../../../../etc/passwd"}', GOOD + b"}"),
        signed(b'{"alg":"HS256","kid":"\' OR 1=1 --"}', GOOD + b"}"),
        # RFC 7519, section 4: of two claims of a name the last one counts.
        signed(HEADER, b'{"sub":"919428284313","sub":"917069852821",' + EXP + b"}"),
    ],
)
def test_what_the_issuer_has_signed_is_granted_whatever_else_it_says(
    mode: TokenAuthenticator, token: str
) -> None:
    assert verdict_on(mode, token) == Granted(NOW + 65, "")


@pytest.mark.parametrize(
    "payload",
    [
        b'{"sub":"917069852821","exp":1e308}',
        b'{"sub":"917069852821","exp":' + b"9" * 4000 + b"}",
    ],
)
def test_for_ever_is_a_time_that_can_be_counted(mode: TokenAuthenticator, payload: bytes) -> None:
    verdict = verdict_on(mode, signed(HEADER, payload))

    assert isinstance(verdict, Granted)
    assert verdict.until_s == (1 << 40) + 5


@pytest.mark.parametrize(
    "token",
    [
        signed(b'{"alg":"HS256","crit":[]}', GOOD + b"}"),
        signed(b'{"alg":"HS256","b64":false}', GOOD + b"}"),
        signed(b'{"alg":"HS256","kid":5}', GOOD + b"}"),
        signed(b'{"alg":"HS256","kid":["a"]}', GOOD + b"}"),
        signed(b'{"alg":"HS256","kid":null}', GOOD + b"}"),
        signed(b'{"alg":"HS256","alg":"none"}', GOOD + b"}"),
        signed(b'{"alg":"hs256"}', GOOD + b"}"),
        signed(b'{"alg":"HS256\\u0000"}', GOOD + b"}"),
        signed(b'{"alg":null}', GOOD + b"}"),
        signed(b'{"alg":{}}', GOOD + b"}"),
        signed(b'{"alg":"HS256","x":' + b"[" * 2500 + b"]" * 2500 + b"}", b"{}"),
        signed(b'"HS256"', GOOD + b"}"),
        signed(b"", GOOD + b"}"),
        signed(HEADER, b""),
        signed(HEADER, b"[]"),
        signed(HEADER, b"null"),
        signed(HEADER, b"[" * 5900),
        signed(HEADER, b'{"a":' * 1100 + b"1" + b"}" * 1100),
        signed(HEADER, GOOD + b',"jti":["a"]}'),
        signed(HEADER, GOOD + b',"jti":{}}'),
        signed(HEADER, GOOD + b',"jti":5}'),
        signed(HEADER, GOOD + b',"jti":null}'),
        signed(HEADER, GOOD + b',"iat":null}'),
        signed(HEADER, GOOD + b',"nbf":null}'),
        signed(HEADER, GOOD + b',"nbf":-Infinity}'),
        signed(HEADER, GOOD + b',"nbf":-' + b"9" * 4000 + b"}"),
        signed(HEADER, b'{"sub":"917069852821","exp":1e400}'),
        signed(HEADER, b'{"sub":"917069852821","exp":-Infinity}'),
        signed(HEADER, b'{"sub":"917069852821","exp":-1}'),
        signed(HEADER, b'{"sub":"917069852821","exp":0}'),
        signed(HEADER, b'{"sub":"917069852821","exp":null}'),
        signed(HEADER, b'{"sub":"917069852821","exp":"1800000000"}'),
        signed(HEADER, b'{"sub":"917069852821","exp":[1800000000]}'),
        signed(HEADER, b'{"sub":"917069852821","exp":' + b"9" * 5800 + b"}"),
        signed(HEADER, b'{"sub":true,' + EXP + b"}"),
        signed(HEADER, b'{"sub":917069852821,' + EXP + b"}"),
        signed(HEADER, b'{"sub":["917069852821"],' + EXP + b"}"),
        signed(HEADER, b'{"sub":"",' + EXP + b"}"),
        signed(HEADER, b'{"sub":"917069852821/phone",' + EXP + b"}"),
        signed(HEADER, b'{"sub":"917069852821@c.us/phone",' + EXP + b"}"),
        signed(HEADER, b'{"sub":"+917069852821",' + EXP + b"}"),
        signed(HEADER, b'{"sub":" 917069852821",' + EXP + b"}"),
        signed(HEADER, b'{"sub":"917069852821\\u0000",' + EXP + b"}"),
        signed(HEADER, b'{"sub":"\\ud800",' + EXP + b"}"),
        signed(HEADER, '{"sub":"\uff1917069852821",'.encode() + EXP + b"}"),
        signed(HEADER, '{"sub":"\u0669\u0661\u0667",'.encode() + EXP + b"}"),
        signed(HEADER, GOOD + b"}") + "\n",
        " " + signed(HEADER, GOOD + b"}"),
        signed(HEADER, GOOD + b"}").rpartition(".")[0] + ".",
        signed(HEADER, GOOD + b"}").rpartition(".")[0],
        signed(HEADER, GOOD + b"}") + ".x",
        "." * MAX_TOKEN_CHARS,
        "A" * MAX_TOKEN_CHARS,
        "=" * MAX_TOKEN_CHARS,
        "\U0001f600" * 2000,
        "\ud800" * 20,
    ],
)
def test_every_other_one_is_refused_in_no_time(mode: TokenAuthenticator, token: str) -> None:
    verdict = verdict_on(mode, token)

    assert isinstance(verdict, Denied)
    assert verdict.code == 401
    assert "917069852821" not in verdict.reason
