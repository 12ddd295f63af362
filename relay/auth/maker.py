"""`relay token`: makes a token to try the mode with; a service of one's own makes the real ones."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any, Final

import click
import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.auth.keys import LEAST_SECRET_BYTES, SHARED, read_secret
from relay.auth.secretfile import SecretFile
from relay.errors import JidError, SettingsError
from relay.protocol.jid import parse_user

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_EXAMPLES: Final = f"""\
Examples:
  openssl rand -base64 48 > secret && chmod 600 secret
  relay serve --auth token --token-secret secret
  relay token --user 917069852821 --secret secret --output asha.token
  relay chat 917069852821 --to 919428284313 --token-file asha.token

A secret has {LEAST_SECRET_BYTES} bytes or more. With a key pair the relay
knows the public half alone:
  openssl genpkey -algorithm ed25519 -out key.pem && openssl pkey -in key.pem -pubout -out pub.pem
  relay token --user 917069852821 --key key.pem --algorithm EdDSA
"""


class _TokenCommand(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{_EXAMPLES}")


def _user(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return parse_user(value)
    except JidError as error:
        raise click.BadParameter(str(error)) from error


def _seconds(ctx: click.Context, param: click.Parameter, value: str) -> int:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", value)
    if match is None or int(match[1]) == 0:
        raise click.BadParameter(f"{value!r} is no time such as 90s, 15m, 1h or 30d")
    return int(match[1]) * _UNITS[match[2]]


@click.command("token", cls=_TokenCommand, short_help="Make a token to try the mode with.")
@click.option("--user", metavar="JID", callback=_user, required=True, help="Who its bearer is.")
@click.option(
    "--ttl",
    metavar="TIME",
    callback=_seconds,
    default="1h",
    show_default=True,
    help="How long it is good for: 90s, 15m, 1h, 30d.",
)
@click.option("--secret", metavar="FILE", help="The secret of the relay (HS256).")
@click.option("--key", metavar="FILE", help="A private key in PEM, for --algorithm.")
@click.option(
    "--algorithm",
    type=click.Choice(["EdDSA", "RS256", "ES256"]),
    default="EdDSA",
    show_default=True,
    help="How --key signs.",
)
@click.option("--kid", metavar="NAME", help="What the key is called in a JWKS.")
@click.option("--issuer", metavar="TEXT", help="Its iss, for auth_token.issuer.")
@click.option("--audience", metavar="TEXT", help="Its aud, for auth_token.audience.")
@click.option("--id", "token_id", metavar="TEXT", help="Its jti, by which it can be revoked.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write it to FILE, which nobody else may read; it must not be there yet.",
)
def command(
    user: str,
    ttl: int,
    secret: str | None,
    key: str | None,
    algorithm: str,
    kid: str | None,
    issuer: str | None,
    audience: str | None,
    token_id: str | None,
    output: Path | None,
) -> None:
    """Print a token that says its bearer is a user, signed by a secret or a private key.

    A shell's `>` leaves the file to be read by everyone on the machine; --output does not.
    """
    if (secret is None) == (key is None):
        raise click.UsageError("--secret or --key is needed, one of them")
    try:
        signer, name = (_secret(secret), SHARED) if secret else (_private_key(key), algorithm)
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    now_s = int(time.time())
    claims: dict[str, Any] = {"sub": user, "iat": now_s, "exp": now_s + ttl}
    more = {"iss": issuer, "aud": audience, "jti": token_id}
    claims |= {claim: value for claim, value in more.items() if value}
    try:
        token = jwt.encode(claims, signer, name, headers={"kid": kid} if kid else None)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise click.UsageError(f"--key: it cannot sign by {name}: {error}") from error
    if output is None:
        click.echo(token)
    else:
        _write(output, token)


def _write(path: Path, token: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{token}\n")
    except FileExistsError:
        raise click.UsageError(f"--output: {path} is there already, and is left as it is") from None
    except OSError as error:
        raise click.UsageError(f"--output: {path} cannot be written: {error.strerror}") from None


def _secret(path: str) -> Any:
    return read_secret(SecretFile(path, "--secret", is_secret=True)).nameless[0]


def _private_key(path: str | None) -> Any:
    content = SecretFile(str(path), "--key", is_secret=True).read()
    try:
        return load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SettingsError(f"--key: {Path(str(path))} is no private key in PEM") from None
