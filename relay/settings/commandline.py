"""The command line of the relay: an option for each row that has a flag, over the settings file."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, get_args

import click

from relay import compiled
from relay.errors import SettingsError
from relay.settings.rows import Section, Setting
from relay.settings.sources import Sources
from relay.settings.tables import SETTINGS
from relay.settings.words import one_line

__all__ = ["Sources", "parse_arguments", "serve_command"]

PROGRAM: Final = "supervisor.py"

_DESCRIPTION: Final = """\
Run the relay: fronts that speak WebSocket with the clients, and workers that keep
their mailboxes. Prints one line to stdout when all of them serve; logs to stderr.
"""
_EPILOG: Final = """\
signals:
  SIGTERM, SIGINT      stop in order: the fronts, then the workers; a second SIGINT hurries
  SIGHUP               read the settings and the groups again; a bad file is refused, the old stay
  SIGUSR2              renew every process, one after another, while the others serve

exit codes:
  0 stopped by a signal   1 cannot start (one line on stderr says why)   2 bad usage or settings

examples:
  {start} --workers 8
  {start} --config config/relay.toml --groups groups.json
  {start} --port 0 --data /tmp/trial --durability os
"""
_WIDTH: Final = 96
_NEGATIVE_NUMBER: Final = re.compile(r"-\d+|-\d*\.\d+")


class _Option(click.Option):
    """An option under a heading of --help; with a `key` it sets that setting.

    Its value stays the text that was typed: it is checked like the value of a file.
    """

    def __init__(
        self,
        section: Section | Literal["ours"],
        names: Sequence[str],
        metavar: str,
        help: str,
        *,
        key: str = "",
        type: type | None = None,
        answer: Callable[[click.Context], str] | None = None,
    ) -> None:
        """Without `metavar` it takes no value; with `answer` it prints that, and ends all.

        An option that is "ours" is under no heading: a supervisor gives it to its successor.
        """

        def show(context: click.Context, _: click.Parameter, wanted: bool) -> None:
            if wanted and answer:
                click.echo(answer(context))
                context.exit()

        super().__init__(
            names,
            metavar=metavar or None,
            help=help,
            type=type,
            hidden=section == "ours",
            is_flag=None if metavar else True,
            is_eager=answer is not None,
            expose_value=answer is None,
            callback=show if answer else None,
        )
        self.section = section
        self.key = key


class _Command(click.Command):
    """A command with one-line errors, and options under headings.

    Errors are SettingsErrors, so that whoever runs it tells them like any other. Those of a
    subcommand are click's, which know its whole name.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            problem = self._without_value(args)
            if not problem:
                super().parse_args(ctx, args)
                if ctx.args:
                    problem = f"unrecognized arguments: {' '.join(ctx.args)}"
        except click.NoSuchOption as error:
            problem = f"unrecognized arguments: {error.option_name}"
        except click.BadOptionUsage as error:  # all else that can be wrong: --insecure-open=1
            problem = f"argument {error.option_name}: it takes no value"
        except click.BadParameter as error:  # of an option that is ours
            problem = error.format_message()
        if problem:
            line = f"{one_line(problem)} (--help shows all options)"
            raise SettingsError(line) if ctx.parent is None else click.UsageError(line, ctx)
        return []

    def _without_value(self, args: list[str]) -> str:
        """Tell of `--data --port 0`, where click would take --port for the directory."""
        takes_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        rest = iter(args)
        for name in rest:
            if name == "--":
                break
            if name in takes_value:
                value = next(rest, "--")
                if value.startswith("-") and value != "-" and not _NEGATIVE_NUMBER.fullmatch(value):
                    return f"argument {name}: expected one argument"
        return ""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[options]", prefix="usage: ")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{self.help}")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        options = [option for option in self.params if isinstance(option, _Option)]
        # All in one column, whatever their heading.
        width = max(len(_usage_of(option)) for option in options)
        for section in get_args(Section):
            rows = [
                (_usage_of(option).ljust(width), option.help or "")
                for option in options
                if option.section == section
            ]
            if rows:
                formatter.write(f"\n{section}:\n")
                with formatter.indentation():
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(f"\n{self.epilog}")


def serve_command(
    run: Callable[[Sources], int],
    *,
    start: str = "relay serve",
    settings: Mapping[str, Setting] = SETTINGS,
) -> click.Command:
    """Return the command that starts a relay: `run` is called with its sources.

    The exit code is what `run` returns. `start` is how the examples of its help begin. The options
    are those of `settings`, by key.

    Raises, when it is invoked:
        SettingsError: one line naming what is no option.
    """

    def serve(**_: object) -> None:
        context = click.get_current_context()
        context.exit(run(_sources(context)))

    return _Command(
        "serve",
        callback=serve,
        params=[*_options(settings), *_other_options()],
        help=_DESCRIPTION,
        epilog=_EPILOG.format(start=start),
        short_help="run the relay until a signal",
        add_help_option=False,
        context_settings={"allow_extra_args": True, "terminal_width": _WIDTH},
    )


def parse_arguments(argv: list[str]) -> Sources:
    """Return the sources of settings that `argv` names; nothing is read yet.

    Raises:
        SettingsError: one line naming what is no option.
        SystemExit: --help or --version, which have been answered.
    """
    command = serve_command(lambda sources: 0, start=f"python {PROGRAM}")
    try:
        with command.make_context(PROGRAM, list(argv)) as context:
            return _sources(context)
    except click.exceptions.Exit as answered:
        raise SystemExit(answered.exit_code) from None


def _options(settings: Mapping[str, Setting]) -> list[_Option]:
    """Return the options of those of `settings` that have a flag."""
    return [
        _Option(flag.section, [flag.name], flag.metavar, _help_of(setting), key=key)
        for key, setting in settings.items()
        if (flag := setting.row.flag)
    ]


def _other_options() -> list[_Option]:
    """Return the options that set nothing."""
    section: Section = "settings and log"
    return [
        _Option(
            section,
            ["--config"],
            "FILE",
            "settings, TOML; an option beats the file (config/relay.toml shows every default)",
        ),
        _Option(
            section,
            ["--check-config"],
            "",
            "start nothing: read the settings and the groups, and tell every mistake; the exit"
            " code is 0 if there is none, otherwise 2",
        ),
        _Option(
            section,
            ["--version"],
            "",
            "show the version",
            answer=lambda context: compiled.version(),
        ),
        _Option("ours", ["--take-over"], "FD", "", type=int),
        _Option("ours", ["--rehearse"], "FD", "", type=int),
        _Option(section, ["--help", "-h"], "", "show this help", answer=click.Context.get_help),
    ]


def _sources(context: click.Context) -> Sources:
    options = {
        option.key: value
        for option in context.command.params
        if isinstance(option, _Option) and option.key
        # None: not given; nor is a flag that is False.
        if (value := context.params[option.name or ""]) not in (None, False)
    }
    config = context.params["config"]
    return Sources(
        Path(config) if config is not None else None,
        options,
        context.params["check_config"],
        context.params["take_over"],
        context.params["rehearse"],
    )


def _help_of(setting: Setting) -> str:
    row = setting.row
    text = (row.flag and row.flag.help) or row.comment
    if setting.default in (False, "") and not row.default_words:
        return text
    return f"{text} (default: {row.default_words or setting.default})"


def _usage_of(option: _Option) -> str:
    names = ", ".join(option.opts)
    return names if option.is_flag else f"{names} {option.metavar}"
