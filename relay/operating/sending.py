"""`relay announce`: a message as the operator's own user."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.errors import NotAnswered
from relay.operating.commands import data_option, json_option, show
from relay.operating.line import Line

_AGAIN_S: Final = 0.5


@click.command()
@data_option
@json_option
@click.option("--id", "message_id", default="", help="Its id; one that was sent is sent once.")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0),
    default=30.0,
    help="Seconds in which it is sent again where nobody answers (default: 30).",
)
@click.option("--message", "is_message", is_flag=True, help="TEXT is the whole message, as JSON.")
@click.argument("jid")
@click.argument("text")
def announce(
    data: Path,
    as_json: bool,
    message_id: str,
    wait_s: float,
    is_message: bool,
    jid: str,
    text: str,
) -> int:
    """Send TEXT to JID, a user or a group, as the user that `admin.jid` names.

    It is stored for good once this says so. Where nobody answers in time it is sent again by the
    same id, so it is stored once. In a group that user must be a member.
    """
    message: Any = {"conversation": text}
    if is_message:
        try:
            msgspec.json.decode(text, type=dict[str, Any])
            message = msgspec.Raw(text.encode())  # as it is written
        except msgspec.DecodeError as error:
            raise click.UsageError(f"--message: {error}") from None
    message_id = message_id or secrets.token_hex(12).upper()
    body = {"to": jid, "message": message, "id": message_id}
    until_s = time.monotonic() + wait_s
    while True:
        try:
            said = Line(data).send("POST", "messages", body=body)
        except NotAnswered as error:
            if time.monotonic() >= until_s:
                raise NotAnswered(f"{error} (--id {message_id} sends it again)") from None
            time.sleep(_AGAIN_S)
        else:
            return show(said, as_json, _sent)


def _sent(said: Mapping[str, Any]) -> str:
    return f"{said['to']}: stored, id {said['id']}"
