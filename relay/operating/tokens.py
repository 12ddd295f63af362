"""`relay tokens ...`: tokens of mode "token" that count no more, or count again."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.errors import NotAsked
from relay.operating.commands import ago, data_option, json_option, show, token_in
from relay.operating.line import Line
from relay.operating.tables import plain, table

user_option = click.option("--user", metavar="JID", help="Those of JID.")

# As `exp` of a token has it; the API takes none behind the last.
_EPOCH: Final = re.compile(r"\d{1,12}")
_LAST_S: Final = 1 << 40


@click.group()
def tokens() -> None:
    """Revoke tokens, with which nobody logs in any more; `relay token` makes them."""


def _moment(ctx: click.Context, param: click.Parameter, text: str | None) -> int | None:
    """Return seconds since 1970; a time without a zone is UTC."""
    if text is None:
        return None
    if _EPOCH.fullmatch(text):
        return int(text)
    try:
        found = datetime.fromisoformat(text)
        return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is no time such as 2026-12-31T12:00:00Z, nor seconds since 1970"
        ) from None


@tokens.command()
@data_option
@json_option
@user_option
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="The token that is in this file."
)
@click.option(
    "--issued-before",
    "before_s",
    metavar="TIME",
    callback=_moment,
    help="With --user: only those (default: now).",
)
@click.option(
    "--expires",
    "expires_s",
    metavar="TIME",
    callback=_moment,
    help="When all of them have expired; it is listed no more then.",
)
@click.option("--reason", default="", help="For other operators; the user does not hear it.")
@click.argument("id", required=False)
def revoke(
    data: Path,
    as_json: bool,
    user: str | None,
    token_file: Path | None,
    before_s: int | None,
    expires_s: int | None,
    reason: str,
    id: str | None,
) -> int:
    """Revoke the token ID (its jti), or all tokens of a user that were issued until now.

    Sessions that began with one are closed, and no login with one succeeds, until `relay tokens
    restore`. A new token lets the user in again; `relay ban` keeps a user out whatever it shows.

    TIME is like 2026-12-31T12:00:00Z, or seconds since 1970 as a token has them.
    """
    if sum(each is not None for each in (id, user, token_file)) != 1:
        raise click.UsageError("give one of ID, --user and --token-file")
    if before_s is not None and user is None:
        raise click.UsageError("--issued-before goes with --user")
    body: dict[str, Any] = {"expires_s": expires_s or 0, "reason": reason}
    if token_file is not None:
        claims = _claims_in(token_file)
        body["id"] = claims.jti
        body["expires_s"] = expires_s or ceil(min(claims.exp, _LAST_S))
    elif user is not None:
        body |= {"user": user, "issued_before_s": before_s}
    else:
        body["id"] = id
    return show(Line(data).send("POST", "tokens", "revoke", body=body), as_json, _revoked)


class _Claims(msgspec.Struct, frozen=True):
    """What a token says of itself; nobody has looked whether that is so."""

    jti: str = ""
    sub: str = ""
    exp: float = 0.0


def _claims_in(path: Path) -> _Claims:
    """Return what the token of a file says.

    Raises:
        NotAsked: it is no JWT, or has no name of its own.
    """
    _, _, rest = token_in(path).partition(".")
    payload = rest.partition(".")[0]
    try:
        content = urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        claims = msgspec.json.decode(content, type=_Claims)
    except (ValueError, RecursionError, msgspec.MsgspecError) as error:
        raise NotAsked(f"{path} has no JWT: {error}") from None
    if not claims.jti:
        of = f" --user {plain(claims.sub)}" if claims.sub else ""
        raise NotAsked(
            f"the token in {path} has no id (jti); all tokens of its user can be revoked:"
            f" relay tokens revoke{of}"
        )
    return claims


def _revoked(said: Mapping[str, Any]) -> str:
    return f"{_which(said)}: revoked for {ago(said['since_ms'])}, by {plain(said['by'])}"


@tokens.command()
@data_option
@json_option
@user_option
@click.argument("id", required=False)
def restore(data: Path, as_json: bool, user: str | None, id: str | None) -> int:
    """Let the token ID, or the tokens of a user that were revoked together, count again."""
    if (id is None) == (user is None):
        raise click.UsageError("give ID or --user")
    body = {"user": user} if id is None else {"id": id}
    return show(Line(data).send("POST", "tokens", "restore", body=body), as_json, _restored)


def _restored(said: Mapping[str, Any]) -> str:
    how = "restored" if said["was_revoked"] else "nothing was revoked"
    name = f"token {plain(said['id'])}" if said["jid"] is None else f"tokens of {said['jid']}"
    return f"{name}: {how}"


@tokens.command("list")
@data_option
@json_option
@click.option("--limit", type=click.IntRange(1, 1000), default=100, help="How many at most.")
@click.option("--after", type=click.IntRange(0), default=0, help="Go on behind a page.")
def list_(data: Path, as_json: bool, limit: int, after: int) -> int:
    """Show which tokens are revoked, since when, by whom and why; not those that have expired."""
    return show(Line(data).get("tokens", "revoked", limit=limit, after=after), as_json, _listed)


def _listed(said: Mapping[str, Any]) -> str:
    rows = [
        (
            _which(each),
            _when(each["expires_s"]),
            ago(each["since_ms"]),
            each["by"],
            each["reason"],
        )
        for each in said["revocations"]
    ]
    head = ("tokens", "expire", "since", "by", "reason")
    text = table(head, rows) if rows else "no token is revoked"
    return f"{text}\nmore: --after {said['next']}" if said["next"] else text


def _which(said: Mapping[str, Any]) -> str:
    if said["jid"] is None:
        return f"token {plain(said['id'])}"
    return f"tokens of {said['jid']} issued before {_when(said['issued_before_s'])}"


def _when(at_s: int) -> str:
    if not at_s:
        return ""
    try:
        return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return str(at_s)
