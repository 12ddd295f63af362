"""What a guarded run's relay is told, and what its users show, go together."""

import ssl
from pathlib import Path

import jwt
import pytest

from .guard import Guard


def test_an_open_run_asks_for_nothing(tmp_path: Path) -> None:
    guard = Guard()

    assert (guard.config(tmp_path), guard.arguments(tmp_path)) == ("", ())
    assert (guard.tls, guard.token_of("9001")) == (None, "")
    assert guard.url(1) == "ws://127.0.0.1:1/"


def test_tokens_are_those_of_the_secret_that_the_relay_is_given(tmp_path: Path) -> None:
    guard = Guard(tokens=True)

    *mode, secret = guard.arguments(tmp_path)

    assert mode == ["--auth", "token", "--token-secret"]
    claims = jwt.decode(guard.token_of("9001"), Path(secret).read_text(), ["HS256"])
    assert claims["sub"] == "9001"
    assert Path(secret).stat().st_mode & 0o077 == 0


def test_users_trust_the_authority_of_the_run_alone(tmp_path: Path) -> None:
    guard = Guard(tls=True)

    assert "certificate_files" in guard.config(tmp_path)
    assert guard.url(1) == "wss://127.0.0.1:1/"
    assert guard.tls is not None
    assert guard.tls.verify_mode is ssl.CERT_REQUIRED
    assert guard.tls.cert_store_stats()["x509_ca"] == 1
    assert Guard(tls=True).tls is not guard.tls


@pytest.mark.parametrize("name", ["relay.pem", "relay.key"])
def test_the_relays_files_lie_in_its_directory(name: str, tmp_path: Path) -> None:
    Guard(tls=True).config(tmp_path)

    assert (tmp_path / name).exists()
