"""`relay listen`: what comes for a user, a line a message, for a shell or a script."""

import signal
import sys
import time
from types import FrameType
from typing import Any, Final, NoReturn

import click
import msgspec

from relay.client import terminal
from relay.client.events import Connected, Disconnected, Event, Message, Refused
from relay.client.options import Access, Duration, access, access_options, me_option
from relay.client.screen import printable
from relay.client.sync import SyncClient
from relay.errors import ClientError

_FAILED: Final = 1
_TOO_FEW: Final = 3

_MORE_HELP: Final = """\
With --json a line is an object, and as the JavaScript client has it:

  {"type":"message","id":"3EB0A1ED1B05362823BC","chat":"917069852821","sender":"917069852821",
   "body":{"conversation":"hi"},"t":1566970629,"text":"hi","isGroup":false}

`chat` is where an answer goes, and a group's jid for what was said there. `text` is empty where
`body` is no text. `t` is the sender's clock, in seconds.

A message is acked once its line has been written, so that it is not lost if this program is
killed, or whoever reads its lines: then it comes again. Who must not do a thing twice remembers
(chat, sender, id). With --no-ack nothing is acked: it all comes again the next time.

Examples:
  relay listen --jid 919428284313 --json
  relay listen --jid 919428284313 --json --count 1 --for 30s | jq -r .text
  relay listen --jid deploy --json | while read -r line; do ...; done

It waits for a relay that is not there, and comes back when it was away; what happens to the
connection is told on standard error. Of one user the newest login counts: a chat or bot that is
logged in as ME is thrown out by this, and this by it.

Exit codes: 0 --count or --for is reached, SIGTERM, or nobody reads any more; 1 the login is
refused, another took its place, or nothing can be written; 2 wrong usage; 3 --for is over before
--count came; 130 interrupted.
"""


class _ListenCommand(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{_MORE_HELP}")


class _Task(msgspec.Struct, frozen=True):
    """What the command was asked for."""

    me: str
    access: Access
    as_json: bool
    acks: bool
    count: int | None
    for_s: float | None


class _Terminated(BaseException):
    """SIGTERM came: what was written is acked, and the program ends well."""


@click.command("listen", cls=_ListenCommand)
@me_option
@click.option("--json", "as_json", is_flag=True, help="One object a line.")
@click.option("--no-ack", is_flag=True, help="Look only: it all comes again the next time.")
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=1),
    help="End after so many messages.",
)
@click.option("--for", "for_s", type=Duration(), help="End after this time: 30s, 10m, 1h.")
@access_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    me: str,
    as_json: bool,
    no_ack: bool,
    count: int | None,
    for_s: float | None,
    **options: Any,
) -> int:
    """Write what comes for the user ME to standard output, a line a message."""
    task = _Task(me, access(ctx, **options), as_json, not no_ack, count, for_s)
    terminal.never_fail_to_encode()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        return _listen(task)
    except ClientError as error:
        click.echo(f"relay listen: {error}", err=True)
        return _FAILED
    except BrokenPipeError:
        terminal.give_up_output()
        return 0
    except OSError as error:
        terminal.give_up_output()
        click.echo(f"relay listen: nothing can be written: {error.strerror}", err=True)
        return _FAILED
    except _Terminated:
        return 0


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signum, signal.SIG_IGN)  # leaving takes a moment, and is not to be interrupted
    raise _Terminated


def _listen(task: _Task) -> int:
    ends_at = None if task.for_s is None else time.monotonic() + task.for_s
    count = 0
    with SyncClient(
        task.access.url,
        task.me,
        token=task.access.token,
        tls=task.access.tls,
        ack="manual",
        notice=_Notices(),
    ) as client:
        while task.count is None or count < task.count:
            left_s = None if ends_at is None else ends_at - time.monotonic()
            message = (
                None if left_s is not None and left_s <= 0 else client.receive(timeout_s=left_s)
            )
            if message is None:
                return 0 if task.count is None else _TOO_FEW
            _write(message, as_json=task.as_json)
            count += 1
            if task.acks:
                client.mark_delivered(message)
    return 0


def _write(message: Message, *, as_json: bool) -> None:
    if as_json:  # in UTF-8, as JSON is, whatever a terminal takes
        sys.stdout.buffer.write(_json_of(message) + b"\n")
    else:
        where = f"[{message.chat}] " if message.is_group else ""
        said = message.text or f"({', '.join(message.body)})"
        sys.stdout.write(f"{where}{message.sender}: {printable(said)}\n")
    sys.stdout.flush()


def _json_of(message: Message) -> bytes:
    return msgspec.json.encode(
        {
            "type": "message",
            "id": message.id,
            "chat": message.chat,
            "sender": message.sender,
            "body": message.body,
            "t": message.t,
            "text": message.text,
            "isGroup": message.is_group,
        }
    )


class _Notices:
    """Tells on standard error what happens to the connection, each thing once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, event: Event) -> None:
        match event:
            case Connected():
                self._say("connected")
            case Disconnected():
                self._say(f"{event.reason}; trying again")
            case Refused():
                self._say(f"the relay refused a frame: {event.reason} ({event.code})")
            case _:
                pass  # of messages that another program sent as this user

    def _say(self, what: str) -> None:
        if what != self._last:
            self._last = what
            click.echo(f"relay listen: {what}", err=True)
