"""`relay send TO TEXT`: one message from a shell, and an exit code that says its fate."""

import sys
from typing import Any, Final

import click

from relay.client.errors import SendUnconfirmed
from relay.client.ids import new_message_id
from relay.client.options import Duration, access, access_options, chat_of, me_option
from relay.client.sync import SyncClient, Until
from relay.errors import ClientError

_STDIN: Final = "-"
# More than any relay takes: what is longer is refused, and need not be read to its end.
_MOST_BYTES: Final = 1024 * 1024
_MANY_RECEIPTS: Final = 100  # it takes seconds to confirm some, which is too long each time
_FAILED: Final = 1
_NOT_STORED: Final = 3
_NOT_YET: Final = 4

_MORE_HELP: Final = """\
Examples:
  relay send 919428284313 "backup done" --jid 917069852821
  df -h | relay send 919428284313 - --jid 917069852821
  relay send 917069852821-1566557065@g.us "lunch?" --jid 917069852821
  relay send 919428284313 "are you there?" --jid 917069852821 --wait read --timeout 10m

The id that the message got is printed, and nothing else. It returns once the relay has stored the
message (ack 1): then it arrives, whatever crashes. Where no relay answers it goes on trying until
--timeout.

To be sure that something is sent, and once, give it an --id, and repeat the command with the same
id and text while it exits with 3:

  while relay send 919428284313 "it is paid" --jid billing --id paid-17; [ $? = 3 ]; do
    sleep 60
  done

A text that begins with a dash stands behind two: relay send TO --jid ME -- "-5 degrees".

ME is logged in for that moment. Of one user the newest login counts: if a chat or a bot is logged
in as ME, it is thrown out, and does not come back by itself. Give scripts a user of their own.
What waits for ME stays where it is.

Exit codes: 0 done; 1 refused, by the relay or before it was asked; 2 wrong usage; 3 not stored in
time, or not known to be: repeat it with the same --id; 4 stored, and not yet delivered or read in
time; 130 interrupted.
"""


class _SendCommand(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{_MORE_HELP}")


@click.command("send", cls=_SendCommand)
@click.argument("to", metavar="TO", callback=chat_of)
@click.argument("text", metavar="TEXT")
@me_option
@click.option(
    "--wait",
    "until",
    type=click.Choice(["sent", "delivered", "read"]),
    default="sent",
    show_default=True,
    help="Until what: the relay has it, TO's client has it, somebody has read it.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait for that: 30s, 10m, 1h.",
)
@click.option(
    "--id",
    "message_id",
    metavar="ID",
    help="The message's id, 1 to 128 characters; the same message with the same id is one.",
)
@access_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    to: str,
    text: str,
    me: str,
    until: Until,
    timeout_s: float,
    message_id: str | None,
    **options: Any,
) -> int:
    """Send TEXT to the user or group TO; with - for TEXT, what comes on standard input."""
    entry = access(ctx, **options)
    if text == _STDIN:
        text = _read()
    if not text:
        raise click.UsageError("there is no text to send", ctx)
    message_id = message_id or new_message_id()
    try:
        with SyncClient(entry.url, me, token=entry.token, tls=entry.tls) as client:
            client.send(to, text, id=message_id, until=until, timeout_s=timeout_s)
            # Else a user who is only ever logged in so gets more and more of them each time.
            if client.unconfirmed >= _MANY_RECEIPTS:
                client.confirm()
    except SendUnconfirmed as error:
        if error.is_stored:
            click.echo(message_id)
        _tell(error)
        return _NOT_YET if error.is_stored else _NOT_STORED
    except (ClientError, ValueError) as error:
        _tell(error)
        return _FAILED
    click.echo(message_id)
    return 0


def _read() -> str:
    """Return what comes on standard input, without the end of its last line."""
    content = sys.stdin.buffer.read(_MOST_BYTES).decode(errors="replace")
    return content.removesuffix("\n").removesuffix("\r")


def _tell(error: Exception) -> None:
    click.echo(f"relay send: {error}", err=True)
