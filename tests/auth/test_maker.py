"""`relay token`, as an operator calls it who tries the mode."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from click.testing import CliRunner, Result

from relay.auth.contract import Credentials, Granted, Peer
from relay.auth.maker import command
from relay.auth.token import TokenAuthenticator
from relay.protocol.stanza import Token
from relay.settings.tables import TokenSettings
from tests.auth.signing import SECRET, private_key, private_pem, public_pem, write

ALICE = "917069852821"


def made(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def verdict(settings: TokenSettings, token: str) -> Any:
    mode = TokenAuthenticator(settings, lambda: None)
    return mode.check(Credentials(ALICE, Token(token.strip())), Peer(), now_s=time.time())


def test_a_token_of_the_secret_is_what_the_relay_takes(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret", SECRET)

    done = made("--user", f"+{ALICE}@c.us", "--secret", secret, "--ttl", "15m", "--id", "t1")

    granted = verdict(TokenSettings(secret_file=secret), done.stdout)
    assert isinstance(granted, Granted)
    assert granted.token_id == "t1"
    assert 800 < granted.until_s - time.time() < 910


@pytest.mark.parametrize("algorithm", ["EdDSA", "RS256", "ES256"])
def test_a_token_of_a_private_key_is_what_the_relay_takes(tmp_path: Path, algorithm: Any) -> None:
    key = private_key(algorithm)
    private = write(tmp_path / "key", private_pem(key))
    public = write(tmp_path / "public", public_pem(key), 0o644)
    claims = ["--issuer", "https://id.example", "--audience", "chat", "--kid", "k1"]

    done = made("--user", ALICE, "--key", private, "--algorithm", algorithm, *claims)

    settings = TokenSettings(
        algorithm=algorithm,
        key_files=(public,),
        issuer="https://id.example",
        audience="chat",
    )
    assert isinstance(verdict(settings, done.stdout), Granted)
    assert jwt.get_unverified_header(done.stdout.strip())["kid"] == "k1"


def test_a_token_goes_to_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    secret, output = write(tmp_path / "secret", SECRET), tmp_path / "token"
    wanted = ("--user", ALICE, "--secret", secret, "--output", str(output))

    done, again = made(*wanted), made(*wanted)

    assert (done.exit_code, done.output) == (0, "")
    assert output.stat().st_mode & 0o777 == 0o600
    assert isinstance(verdict(TokenSettings(secret_file=secret), output.read_text()), Granted)
    assert (again.exit_code, "is there already" in again.output) == (2, True)
    nowhere = made(*wanted[:-1], str(tmp_path / "gone" / "token"))
    assert (nowhere.exit_code, "cannot be written" in nowhere.output) == (2, True)


def test_what_is_unusable_is_told_and_exits_with_2(tmp_path: Path) -> None:
    secret, short = write(tmp_path / "secret", SECRET), write(tmp_path / "short", b"x")
    open_to_all = write(tmp_path / "open", SECRET, 0o644)
    rsa = write(tmp_path / "rsa", private_pem(private_key("RS256")))
    cases = [
        ([], "--secret or --key is needed"),
        (["--secret", secret, "--key", rsa], "--secret or --key is needed"),
        (["--secret", short], "has 1 bytes, and 32 or more are needed"),
        (["--secret", open_to_all], "may be used by everyone (mode 0644)"),
        (["--secret", str(tmp_path / "gone")], "cannot be read: No such file or directory"),
        (["--key", secret], "is no private key in PEM"),
        (["--key", rsa], "it cannot sign by EdDSA"),
        (["--secret", secret, "--ttl", "soon"], "no time such as 90s, 15m, 1h or 30d"),
        (["--secret", secret, "--ttl", "0s"], "no time such as"),
    ]
    for options, said in cases:
        done = made("--user", ALICE, *options)
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
        assert "eyJ" not in done.output

    assert "Invalid value for '--user'" in made("--user", "a b", "--secret", secret).output
