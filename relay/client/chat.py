"""A small terminal chat: `relay chat ME --to THEM`, on top of `relay.client`.

With a terminal it has an input line below the conversation; with a pipe it sends each line of its
input, so that a script can chat too.
"""

import asyncio
import os
import signal
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec
from websockets.exceptions import InvalidURI

from relay.client import terminal
from relay.client.client import Client
from relay.client.conversation import Conversation
from relay.client.errors import NoLogin
from relay.client.wire import chat_name
from relay.errors import ClientError, JidError, SettingsError
from relay.handshake import tls_context
from relay.protocol.jid import parse_user
from relay.trust import Trust

DEFAULT_URL: Final = "ws://127.0.0.1:9011/"
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

# The rule of relay.protocol.jid for a person.
_USER_RULE: Final = (
    "a user is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit, as asha.k"
)
_GROUP_RULE: Final = "a group is such a name with @g.us, as 917069852821-1566557065@g.us"

_MORE_HELP: Final = """\
Lines you type go to --to; what others send you appears above, with your own lines' ticks:

  …         on its way       ✓ sent        the relay has it, whatever crashes now
  ✓✓ delivered               ✓✓ read       shown by the other side's client

A line that begins with a slash is a command: /help, /quit. //text sends /text. Lines of a pipe
are sent as they are.

Names: {user_rule};
{group_rule}.
The relay tells no client a group's subject, nor who is in it: what --subject and --members say
is shown to you alone.

Try it with two terminals, while a relay runs in a third:

  {command} 917069852821 --to 919428284313
  {command} 919428284313 --to 917069852821

Stop one of them, write to it, and start it again: the messages have waited. A group is
addressed by its jid, and a script may use a pipe:

  {command} 917069852821 --to 917069852821-1566557065@g.us --subject Hike
  echo "backup done" | {command} 917069852821 --to 919428284313

Exit codes: 0 you left; 1 could not log in, replaced by another login of the same user, or a
piped line was not accepted by the relay; 2 wrong usage.
"""


def _user(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return parse_user(value)
    except JidError as error:
        raise click.BadParameter(f"{error}; {_USER_RULE}") from error


def _chat_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    try:
        return chat_name(value)
    except JidError as error:
        raise click.BadParameter(f"{error}; {_USER_RULE}; {_GROUP_RULE}") from error


def _wait(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not 0 <= value <= 3600:  # nor is nan
        raise click.BadParameter(f"{value:g} is not between 0 and 3600 seconds")
    return value


class _ChatCommand(click.Command):
    """The command under whatever name it is called by: its examples name it so."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        more = _MORE_HELP.format(
            command=ctx.command_path, user_rule=_USER_RULE, group_rule=_GROUP_RULE
        )
        formatter.write(f"\n{more}")


class _Task(msgspec.Struct, frozen=True):
    """What the command was asked for."""

    me: str
    to: str
    url: str
    wait_s: float
    subject: str
    recipients: int | None
    token_file: Path | None
    trust: Trust


@click.command("chat", cls=_ChatCommand, short_help="Chat in a terminal, or from a pipe.")
@click.argument("me", metavar="ME", callback=_user)
@click.option(
    "--to",
    metavar="CHAT",
    callback=_chat_id,
    required=True,
    help="A user, or a group's jid: …@g.us.",
)
@click.option("--url", default=DEFAULT_URL, show_default=True, help="The relay.")
@click.option(
    "--wait",
    metavar="SECONDS",
    type=float,
    callback=_wait,
    default=1.0,
    show_default=True,
    help="With a pipe: how long to go on showing what comes, once the last line is confirmed.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="RELAY_TOKEN_FILE",
    help="The token to show at each login, read anew each time; `relay token` makes one.",
)
@click.option(
    "--ca-file",
    metavar="FILE",
    default="",
    help="With wss://: trust relays of these authorities (PEM), and of no others.",
)
@click.option(
    "--client-cert",
    metavar="FILE",
    default="",
    help="With wss://: the certificate to show to a relay that wants one (PEM).",
)
@click.option(
    "--client-key",
    metavar="FILE",
    default="",
    help="Its key, where that is in another file.",
)
@click.option("--subject", metavar="TEXT", default="", help="With a group: what to call it here.")
@click.option(
    "--members",
    metavar="COUNT",
    type=click.IntRange(min=2),
    help="With a group: how many it has, you included; ticks then say of how many.",
)
@click.pass_context
def command(
    ctx: click.Context,
    me: str,
    to: str,
    url: str,
    wait: float,
    token_file: Path | None,
    ca_file: str,
    client_cert: str,
    client_key: str,
    subject: str,
    members: int | None,
) -> None:
    """Chat through a relay, as the user ME with another or with a group."""
    trust = Trust(ca_file=ca_file, certificate_file=client_cert, key_file=client_key)
    if trust != Trust() and not url.lower().startswith("wss://"):
        raise click.UsageError(f"{url} is not wss://: there are no certificates", ctx)
    if not to.endswith("@g.us"):
        for name, value in (("--subject", subject), ("--members", members)):
            if value:
                raise click.UsageError(f"{name} goes with a group: {to} is a user", ctx)
    recipients = None if members is None else members - 1
    ctx.exit(_run(_Task(me, to, url, wait, subject, recipients, token_file, trust)))


def _run(task: _Task) -> int:
    """Chat; return the exit code.

    Raises:
        click.BadParameter: the url is none.
        click.UsageError: a certificate or key is none.
    """
    terminal.never_fail_to_encode()
    try:
        tls = tls_context(task.trust) if task.url.lower().startswith("wss://") else None
        return EXIT_OK if asyncio.run(_chat(task, tls)) else EXIT_FAILED
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    except InvalidURI as error:
        raise click.BadParameter(str(error), param_hint="'--url'") from error
    except ClientError as error:
        terminal.note(str(error))
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_OK
    except BrokenPipeError:
        # Whoever read our output left. Keep the interpreter from flushing into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _read_token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NoLogin(f"no token can be read from {path}: {error}") from error


async def _chat(task: _Task, tls: ssl.SSLContext | None) -> bool:
    interactive = terminal.is_interactive()
    running = asyncio.current_task()
    if not interactive and running is not None:
        # With the handler that asyncio.run sets, a Ctrl-C in the moment before the loop begins to
        # wait counts only at the next event. This one wakes the loop. (In a terminal Ctrl-C is a
        # key.)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.cancel)
    token = "" if task.token_file is None else partial(_read_token, task.token_file)
    async with Client(task.url, task.me, token=token, tls=tls) as client:
        conversation = Conversation(
            client,
            task.to,
            wait_s=task.wait_s,
            subject=task.subject,
            recipients=task.recipients,
        )
        return await conversation.run(interactive=interactive)
