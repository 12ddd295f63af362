"""A small terminal chat: `relay chat ME --to THEM`, on top of `relay.client`.

With a terminal it has an input line below the conversation; with a pipe it sends each line of its
input, so that a script can chat too.
"""

import asyncio
import signal
from typing import Any, Final

import click
import msgspec

from relay.client import terminal
from relay.client.client import RelayClient
from relay.client.conversation import Conversation
from relay.client.options import (
    GROUP_RULE,
    USER_RULE,
    Access,
    access,
    access_options,
    chat_of,
    user_of,
)
from relay.errors import ClientError

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1

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


def _wait(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not 0 <= value <= 3600:  # nor is nan
        raise click.BadParameter(f"{value:g} is not between 0 and 3600 seconds")
    return value


class _ChatCommand(click.Command):
    """The command under whatever name it is called by: its examples name it so."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        more = _MORE_HELP.format(
            command=ctx.command_path, user_rule=USER_RULE, group_rule=GROUP_RULE
        )
        formatter.write(f"\n{more}")


class _Task(msgspec.Struct, frozen=True):
    """What the command was asked for."""

    me: str
    to: str
    access: Access
    wait_s: float
    subject: str
    recipients: int | None


@click.command("chat", cls=_ChatCommand, short_help="Chat in a terminal, or from a pipe.")
@click.argument("me", metavar="ME", callback=user_of)
@click.option(
    "--to",
    metavar="CHAT",
    callback=chat_of,
    required=True,
    help="A user, or a group's jid: …@g.us.",
)
@click.option(
    "--wait",
    metavar="SECONDS",
    type=float,
    callback=_wait,
    default=1.0,
    show_default=True,
    help="With a pipe: how long to go on showing what comes, once the last line is confirmed.",
)
@access_options
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
    /,
    me: str,
    to: str,
    wait: float,
    subject: str,
    members: int | None,
    **options: Any,
) -> None:
    """Chat through a relay, as the user ME with another or with a group."""
    entry = access(ctx, **options)
    if not to.endswith("@g.us"):
        for name, value in (("--subject", subject), ("--members", members)):
            if value:
                raise click.UsageError(f"{name} goes with a group: {to} is a user", ctx)
    recipients = None if members is None else members - 1
    ctx.exit(_run(_Task(me, to, entry, wait, subject, recipients)))


def _run(task: _Task) -> int:
    """Chat; return the exit code."""
    terminal.never_fail_to_encode()
    try:
        return EXIT_OK if asyncio.run(_chat(task)) else EXIT_FAILED
    except ClientError as error:
        terminal.note(str(error))
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_OK
    except BrokenPipeError:
        terminal.give_up_output()
        return EXIT_OK


async def _chat(task: _Task) -> bool:
    interactive = terminal.is_interactive()
    running = asyncio.current_task()
    if not interactive and running is not None:
        # With the handler that asyncio.run sets, a Ctrl-C in the moment before the loop begins to
        # wait counts only at the next event. This one wakes the loop. (In a terminal Ctrl-C is a
        # key.)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.cancel)
    access = task.access
    async with RelayClient(access.url, task.me, token=access.token, tls=access.tls) as client:
        conversation = Conversation(
            client,
            task.to,
            wait_s=task.wait_s,
            subject=task.subject,
            recipients=task.recipients,
        )
        return await conversation.run(interactive=interactive)
