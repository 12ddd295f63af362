"""The options that the programs with a client share: who one is, and where the relay is."""

import re
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from relay.client.errors import NoToken
from relay.client.tokens import Token
from relay.client.wire import chat_name
from relay.errors import JidError, SettingsError
from relay.handshake import tls_context
from relay.protocol.jid import parse_user
from relay.trust import Trust

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_URL: Final = "ws://127.0.0.1:9011/"
# The rule of relay.protocol.jid for a person.
USER_RULE: Final = (
    "a user is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, as asha.k"
)
GROUP_RULE: Final = "a group is such a name with @g.us, as 917069852821-1566557065@g.us"

_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S: Final = 400 * 86400.0


class Access(msgspec.Struct, frozen=True):
    """Where the relay is, and what to show and believe there."""

    url: str
    token: Token
    tls: ssl.SSLContext | None


def user_of(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the local part of the user that was given."""
    try:
        return parse_user(value)
    except JidError as error:
        raise click.BadParameter(f"{error}; {USER_RULE}") from error


def chat_of(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the one spelling of the user or group that was given."""
    try:
        return chat_name(value)
    except JidError as error:
        raise click.BadParameter(f"{error}; {USER_RULE}; {GROUP_RULE}") from error


class Duration(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from 8.2 on
    """Seconds, of `500ms`, `30s`, `10m`, `1h`, `7d`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)", str(value), re.ASCII)
        seconds = float(found[1]) * _UNITS_S[found[2]] if found else 0.0
        if not 0 < seconds <= _LONGEST_S:
            self.fail(f"{value} is no time such as 30s, 10m or 1h", param, ctx)
        return seconds


def me_option(command: F) -> F:
    """Add `--jid`: who logs in."""
    return click.option(
        "--jid",
        "me",
        metavar="ME",
        callback=user_of,
        required=True,
        envvar="RELAY_JID",
        show_envvar=True,
        help="Who you are: the user to log in as.",
    )(command)


def access_options(command: F) -> F:
    """Add the options that `access` makes something of, in the order of a help."""
    for option in reversed(_ACCESS):
        command = option(command)
    return command


_ACCESS: Final = (
    click.option(
        "--url",
        default=DEFAULT_URL,
        show_default=True,
        envvar="RELAY_URL",
        show_envvar=True,
        help="The relay.",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="RELAY_TOKEN_FILE",
        show_envvar=True,
        help="The token to show at each login, read anew each time; `relay token` makes one.",
    ),
    click.option(
        "--ca-file",
        metavar="FILE",
        default="",
        help="With wss://: trust relays of these authorities (PEM), and of no others.",
    ),
    click.option(
        "--client-cert",
        metavar="FILE",
        default="",
        help="With wss://: the certificate to show to a relay that wants one (PEM).",
    ),
    click.option(
        "--client-key",
        metavar="FILE",
        default="",
        help="Its key, where that is in another file.",
    ),
)


def access(
    ctx: click.Context,
    *,
    url: str,
    token_file: Path | None,
    ca_file: str,
    client_cert: str,
    client_key: str,
) -> Access:
    """Return what `access_options` say.

    Raises:
        click.BadParameter: the url is none.
        click.UsageError: a certificate or key is none, or is of no use.
    """
    try:
        is_secure = parse_uri(url).secure
    except InvalidURI as error:
        raise click.BadParameter(str(error), ctx, param_hint="'--url'") from error
    trust = Trust(ca_file=ca_file, certificate_file=client_cert, key_file=client_key)
    if trust != Trust() and not is_secure:
        raise click.UsageError(f"{url} is not wss://: there are no certificates", ctx)
    try:
        tls = tls_context(trust) if is_secure else None
    except SettingsError as error:
        raise click.UsageError(str(error), ctx) from error
    return Access(url, "" if token_file is None else partial(_read_token, token_file), tls)


def _read_token(path: Path, _: object) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoToken(f"none can be read from {path}: {error}") from error
