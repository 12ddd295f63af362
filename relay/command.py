"""The command `relay`: every program by one name, and none imported before it is asked for.

A program may import all of the relay; nothing imports this.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import click
from click.shell_completion import CompletionItem, get_completion_class

from relay import compiled
from relay.invocation import BAD_USAGE, invoke


class Program(NamedTuple):
    """One subcommand, as `relay --help` shows it without importing what it is."""

    section: str
    summary: str
    # "module:name" of a click command, or of a `main(argv) -> exit code` that reads its own argv.
    target: str


PROGRAMS: Final = {
    "serve": Program("Serve", "run the relay until a signal", "relay.supervision.entry:serve"),
    "config": Program(
        "Serve", "show or write a settings file to start from", "relay.command:config"
    ),
    "cluster": Program(
        "Serve", "make several hosts one relay", "workers.tools.clustercommand:cluster"
    ),
    "chat": Program("Try", "chat in a terminal, or from a script", "relay.client.chat:command"),
    "token": Program("Try", 'make a token for auth.mode "token"', "relay.auth.maker:command"),
    "load": Program(
        "Try",
        "put a relay under load, check every message, measure",
        "relay.loadgen.cli.commands:load",
    ),
    "send": Program(
        "Script", "send one message, and wait for its fate", "relay.client.sender:command"
    ),
    "listen": Program(
        "Script", "write what comes, a line a message", "relay.client.listener:command"
    ),
    "status": Program(
        "See",
        "show which processes run, and how full the disk is",
        "relay.operating.commands:status",
    ),
    "users": Program("See", "show who is connected", "relay.operating.commands:users"),
    "user": Program(
        "See", "show why a user gets no messages, and what waits", "relay.operating.commands:user"
    ),
    "queue": Program("See", "show what waits for a user", "relay.operating.commands:queue"),
    "mailboxes": Program(
        "See",
        "show for whom and of whom most waits: who fills the disk",
        "relay.operating.largest:mailboxes",
    ),
    "top": Program(
        "See", "show what happens now: rates, latencies, the slowest", "relay.operating.top:top"
    ),
    "console": Program(
        "See", "serve a page for a browser that shows all this", "relay.operating.console:console"
    ),
    "trace": Program(
        "See", "show what becomes of a user's frames", "relay.operating.following:trace"
    ),
    "message": Program("See", "show what became of a message", "relay.operating.following:message"),
    "kick": Program("Act", "close a user's sessions", "relay.operating.leaving:kick"),
    "ban": Program("Act", "throw a user out", "relay.operating.leaving:ban"),
    "unban": Program("Act", "let a user in again", "relay.operating.leaving:unban"),
    "bans": Program("Act", "show who was thrown out", "relay.operating.leaving:bans"),
    "tokens": Program(
        "Act", "revoke tokens, one or all of a user", "relay.operating.tokens:tokens"
    ),
    "announce": Program(
        "Act", "send a message as the operator", "relay.operating.sending:announce"
    ),
    "groups": Program("Act", "show, make and change groups", "relay.operating.groups:groups"),
    "webhooks": Program(
        "Act",
        "how events are posted, and those that were not taken",
        "relay.operating.webhooks:webhooks",
    ),
    "reload": Program("Act", "read settings and groups again", "relay.operating.steering:reload"),
    "roll": Program("Act", "renew every process", "relay.operating.steering:roll"),
    "drain": Program("Act", "renew one process", "relay.operating.steering:drain"),
    "stop": Program(
        "Act", "stop the whole relay, as for a reboot", "relay.operating.stopping:stop"
    ),
    "workers": Program(
        "Act",
        "have another number of workers from the next start on",
        "relay.operating.steering:workers",
    ),
    "purge": Program(
        "Keep", "throw away what waits for a user, or too long", "relay.operating.keeping:purge"
    ),
    "check": Program(
        "Keep",
        "verify that the indexes of a data directory agree",
        "workers.tools.commandline:check",
    ),
    "backup": Program(
        "Keep",
        "copy a data directory while its relay runs",
        "workers.tools.commandline:backup",
    ),
    "store": Program(
        "Keep",
        "make room in a data directory, or throw away what is in it",
        "workers.tools.storecommand:store",
    ),
    "completion": Program(
        "Shell", "print what makes TAB complete all this", "relay.command:completion"
    ),
}

EXAMPLES: Final = """\
Examples:
  relay serve --workers 2                       on ws://127.0.0.1:9011/, data in ./data
  relay chat 917069852821 --to 919428284313     in a second terminal
  relay chat 919428284313 --to 917069852821     in a third
  relay send 919428284313 "backup done" --jid 917069852821
  relay listen --jid 919428284313 --json
  relay token --user 917069852821 --secret secret.txt
  relay config --write relay.toml               every setting, with its default and its meaning
  relay serve --config relay.toml
  relay cluster init a=HOST b=HOST c=HOST       a settings file by which three hosts are one relay
  relay status                                  of the relay on ./data
  relay user 917069852821                       why does it get no messages?
  relay trace 917069852821 --for 30s            each frame, and what becomes of it
  relay backup ./data /backups/monday           while it runs
  relay check /backups/monday
  relay store purge ./data --older-than 7d --dry-run
  eval "$(relay completion bash)"               TAB completes, in this shell

Each has a --help of its own: relay serve --help
"""


class _Foreign(click.Command):
    """A program that reads its own command line: everything behind its name is passed on as is."""

    def __init__(self, name: str, main: Callable[[list[str]], int]) -> None:
        super().__init__(name, add_help_option=False)
        self._main = main

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.args = args
        return []

    def invoke(self, ctx: click.Context) -> int:
        return self._main(ctx.args)


class _Relay(click.Group):
    """Finds subcommands in PROGRAMS, and imports one only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(PROGRAMS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        program = PROGRAMS.get(cmd_name)
        if program is None:
            return None
        module, _, attribute = program.target.partition(":")
        target = getattr(import_module(module), attribute)
        return target if isinstance(target, click.Command) else _Foreign(cmd_name, target)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in PROGRAMS and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(PROGRAMS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(program.section for program in PROGRAMS.values()):
            with formatter.section(section):
                formatter.write_dl(list(_summaries(section)), col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{EXAMPLES}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        named = [
            CompletionItem(name, help=program.summary)
            for name, program in PROGRAMS.items()
            if name.startswith(incomplete)
        ]
        # Its options; what a group adds to them is its commands, each imported for its help.
        return named + click.Command.shell_complete(self, ctx, incomplete)


def _summaries(section: str) -> Iterator[tuple[str, str]]:
    # In columns of one width, whatever the section.
    width = max(map(len, PROGRAMS))
    for name, program in PROGRAMS.items():
        if program.section == section:
            yield name.ljust(width), program.summary


def _say_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        click.echo(compiled.version())
        context.exit()


@click.group(
    cls=_Relay,
    invoke_without_command=True,
    subcommand_metavar="COMMAND ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version, and whether compiled parts run.",
)
@click.pass_context
def relay(context: click.Context) -> int:
    """A WebSocket message relay: it holds what is sent until the recipient's client has it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        return BAD_USAGE
    return 0


_FILES: Final = {
    "settings": "relay.toml",
    "groups": "groups.example.json",
    "service": "relay.service",
    "socket": "relay.socket",
    "nginx": "nginx.conf",
    "nginx-users": "nginx-users.conf",
    "haproxy": "haproxy.cfg",
    "alerts": "relay-alerts.yml",
    "dashboard": "grafana-dashboard.json",
}


@click.command()
@click.argument("what", type=click.Choice(list(_FILES)), default="settings")
@click.option(
    "--write",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write it to FILE, which must not be there yet.",
)
def config(what: str, path: Path | None) -> None:
    """Show a file to start from: it says of each line what it means.

    \b
    settings   every setting at its default, TOML, for relay serve --config (the default)
    groups     groups and their members, JSON, for relay serve --groups
    service    a systemd unit
    socket     another one, for a port that systemd holds while the relay restarts
    nginx, haproxy   what to have before it; nginx-users asks for passwords, for auth.mode "proxy"
    alerts     alert rules for Prometheus
    dashboard  a dashboard for Grafana, JSON, to import there

    To see whether the relay would take a file: relay serve --config FILE --check-config
    """
    content = (files("relay") / "config" / _FILES[what]).read_text()
    if path is None:
        click.echo(content, nl=False)
        return
    try:
        with path.open("x") as file:
            file.write(content)
    except FileExistsError:
        raise click.ClickException(f"{path} is there already, and is left as it is") from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None


_SHELLS: Final = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script by which SHELL completes the relay's commands and their options.

    \b
    bash, for good:  relay completion bash > ~/.local/share/bash-completion/completions/relay
    zsh, for good:   relay completion zsh > DIR/_relay    with DIR in $fpath, before compinit
    fish, for good:  relay completion fish > ~/.config/fish/completions/relay.fish
    bash, once:      eval "$(relay completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None, f"click completes nothing for {shell}"
    click.echo(kind(relay, {}, "relay", "_RELAY_COMPLETE").source())


def main(argv: list[str]) -> int:
    """Run the program that `argv` names; return its exit code."""
    return invoke(relay, argv, name="relay")
