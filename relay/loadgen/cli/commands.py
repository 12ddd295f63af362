"""The commands of the load generator: `load` is all of them, to stand alone or below another.

Bad usage is told in one line and ends with exit code 2. What only a run needs is imported when one
begins: `--help` needs none of it.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, NoReturn
from urllib.parse import urlsplit

import click

from relay.errors import RelayError, SettingsError
from relay.loadgen.cli.options import LOAD, SCENARIO, TARGET, WRITTEN
from relay.loadgen.cli.scenarios import ROWS, Row, having
from relay.loadgen.run.request import DEFAULT_URL, RunRequest
from relay.loadgen.traffic.plan import (
    MIXED_GROUP_MEMBERS,
    Group,
    Mixed,
    Offline,
    Plan,
    sessions_of,
    units_of,
)
from relay.trust import Trust

EXIT_FAULTS: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130
_FILES_TO_SPARE: Final = 64
_ANY_RATE: Final = "--messages-per-s 1000000"
_WIDE: Final = {"max_content_width": 100}

# What the extra `load` installs, by the name that is imported.
_EXTRAS: Final = {
    "hdrh": "hdrhistogram",
    "rich": "rich",
    "psutil": "psutil",
    "jinja2": "jinja2",
    "pygal": "pygal",
}

_EXIT_CODES: Final = (
    ("0", "every check held"),
    ("1", "lost, duplicated, out of order, wrong, un-acked or refused messages; nothing answers"),
    ("2", "bad usage"),
    ("130", "interrupted by Ctrl-C; what was measured until then is shown"),
)


class BadUsage(click.UsageError):
    """Bad usage, told in one line."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the line, with the command before it."""
        where = self.ctx.command_path if self.ctx is not None else "relay-load"
        message = self.format_message()  # with what was typed in it, line breaks and all
        told = "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)
        click.echo(f"{where}: {told}", file=file, err=True)


@contextmanager
def _told_in_one_line(name: str) -> Iterator[None]:
    """Make one line of every usage error; an option of other scenarios is told with them."""
    try:
        yield
    except BadUsage:
        raise
    except click.NoSuchOption as error:
        others = [other for other in having(error.option_name) if other != name]
        whose = f"; it belongs to {', '.join(others)}" if others else f"; {name} --help lists all"
        raise BadUsage(f"no option {error.option_name} here{whose}", error.ctx) from error
    except click.UsageError as error:
        raise BadUsage(error.format_message(), error.ctx) from error


class _Command(click.Command):
    """A command whose help has sections and examples."""

    examples: tuple[str, ...] = ()

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the options."""
        with _told_in_one_line(info_name or ""):
            return super().make_context(info_name, args, parent, **extra)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list a section."""
        for section in (SCENARIO, TARGET, LOAD, WRITTEN, ""):
            rows = [
                row
                for param in self.get_params(ctx)
                if getattr(param, "section", "") == section
                if (row := param.get_help_record(ctx)) is not None
            ]
            if rows:
                with formatter.section(section or "Other"):
                    formatter.write_dl(rows, col_max=24)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        program = ctx.parent.command_path if ctx.parent is not None else ""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {program} {example}\n")


class _Load(click.Group):
    """The commands together; turns errors into a line and an exit code."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read what comes before the scenario, which is --help or nothing."""
        with _told_in_one_line("SCENARIO"):
            return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is left for the scenario; there must be one."""
        if not args:
            raise BadUsage(f"which SCENARIO? one of {', '.join(self.commands)}; or --help", ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the scenario."""
        if self.get_command(ctx, args[0]) is None:
            raise BadUsage(
                f"{args[0]!r} is no SCENARIO ({', '.join(self.list_commands(ctx))})", ctx
            )
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the rows."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out a command.

        Raises:
            click.exceptions.Exit: the exit code, whatever went wrong.
        """
        before = {
            number: signal.signal(number, _ended)
            for number in (signal.SIGTERM, signal.SIGHUP)
            # Whoever started us with nohup wants us to outlive the terminal.
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            _complain(str(error))
            ctx.exit(EXIT_USAGE)
        except RelayError as error:
            _complain(str(error))
            ctx.exit(EXIT_FAULTS)
        except KeyboardInterrupt:
            _complain("interrupted; nothing is reported")
            ctx.exit(EXIT_INTERRUPTED)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and exit codes."""
        with formatter.section("Examples"):
            for row in ROWS:
                formatter.write(f"  {ctx.command_path} {row.examples[0]}\n")
            formatter.write(f"  {ctx.command_path} compare old.json new.json\n")
        with formatter.section("Exit codes"):
            formatter.write_dl(_EXIT_CODES)


def _run(row: Row, **given: Any) -> None:
    ctx = click.get_current_context()
    scenario = row.kind(**{name: given[name] for name in row.kind.__struct_fields__})
    plan = Plan(
        scenario=scenario,
        **{name: given[name] for name in Plan.__struct_fields__ if name in given},
    )
    request = RunRequest(
        plan=plan,
        url=given["url"] or DEFAULT_URL,
        spawn=_spawned(given["spawn"]),
        reference=given.get("reference", False),
        rounds=given["rounds"],
        relay_cpus=given["relay_cpus"],
        load_cpus=given["load_cpus"],
        trust=Trust(
            ca_file=given["ca_file"],
            certificate_file=given["client_cert"],
            key_file=given["client_key"],
        ),
        tokens=given["tokens"] or {},
        token_key=given["token_key"],
    )
    files = {name: given.get(name) for name in ("json_file", "html_file", "groups_file")}
    if reason := _unfit(request, has_url=given["url"] is not None, files=list(files.values())):
        raise BadUsage(reason, ctx)
    _need_extras(ctx)
    if request.trust != Trust():
        from relay.handshake import tls_context

        tls_context(request.trust)  # else each load process would say what is unusable
    from relay.loadgen.cli import work

    groups_file = files.pop("groups_file")
    if groups_file is not None:
        ctx.exit(work.write_groups(plan, groups_file))
    ctx.exit(work.measure(request, **files))


def _compare(first: Path, second: Path) -> None:
    ctx = click.get_current_context()
    _need_extras(ctx)
    from relay.loadgen.cli import work

    ctx.exit(work.compare(first, second))


def _spawned(options: str | None) -> str | None:
    """Return a relay's options with a quota that nobody reaches: here a user stands for many."""
    if options is None or "--messages-per-s" in options:
        return options
    return f"{options} {_ANY_RATE}".lstrip()


def _unfit(request: RunRequest, *, has_url: bool, files: list[Path | None]) -> str:
    """Return why options do not go together, or an empty string."""
    plan = request.plan
    scenario = plan.scenario
    if isinstance(scenario, Group) and not scenario.senders < scenario.members:
        return "--senders must be fewer than --members: who only listens shows the order"
    if isinstance(scenario, Mixed) and scenario.users < MIXED_GROUP_MEMBERS:
        return f"--users must be at least {MIXED_GROUP_MEMBERS}"
    if isinstance(scenario, Offline) and scenario.messages < scenario.users:
        return "--messages must be at least one for each of --users"
    if plan.procs > units_of(scenario):
        return f"--procs {plan.procs} is more than there is to divide"
    if request.spawn is not None and has_url:
        return "--spawn starts a relay of its own: leave out --url"
    if request.relay_cpus and request.spawn is None:
        return "--relay-cpus needs --spawn: a relay that runs already is not moved"
    if (request.tokens or request.token_key) and request.reference:
        return "--reference knows no tokens"
    unknown = {*request.relay_cpus, *request.load_cpus} - os.sched_getaffinity(0)
    if unknown:
        return f"no CPU {min(unknown)} for this process"
    url = urlsplit(request.url)
    try:
        good = url.scheme in ("ws", "wss") and url.hostname and (url.port or True)
    except ValueError:
        good = False
    if not good:
        return f"--url {request.url}: not of the form ws://HOST:PORT/ or wss://HOST:PORT/"
    if request.trust != Trust() and request.spawn is None and url.scheme != "wss":
        return f"--url {request.url}: not wss://, so there are no certificates"
    sessions_a_process = -(-sessions_of(scenario) // plan.procs) + _FILES_TO_SPARE
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if sessions_a_process > limit:
        return (
            f"{sessions_of(scenario):,} sessions in {plan.procs} processes need more than the "
            f"{limit:,} files that a process may open (ulimit -Hn)"
        )
    for path in files:
        if path is not None and not path.resolve().parent.is_dir():
            return f"{path}: no such directory"
    return ""


def _need_extras(ctx: click.Context) -> None:
    """End with exit code 2 where the extra is not installed."""
    missing = [package for module, package in _EXTRAS.items() if find_spec(module) is None]
    if missing:
        _complain(
            f"{', '.join(missing)} not installed; the load generator needs the extra `load`: "
            "python -m pip install 'relay[load]', or make setup in a checkout"
        )
        ctx.exit(EXIT_USAGE)


def _ended(number: int, frame: object) -> NoReturn:
    # So that what we started is stopped on the way out.
    raise SystemExit(128 + number)


def _complain(text: str) -> None:
    click.echo(f"relay-load: {text}", err=True)


def _scenario(row: Row) -> click.Command:
    command = _Command(
        row.name,
        params=list[click.Parameter](row.options),
        callback=partial(_run, row),
        help=row.help,
        short_help=row.summary,
        context_settings=_WIDE,
    )
    command.examples = row.examples
    return command


def _comparison() -> click.Command:
    command = _Command(
        "compare",
        params=[
            click.Argument([name], type=click.Path(path_type=Path), metavar=metavar)
            for name, metavar in (("first", "A.json"), ("second", "B.json"))
        ],
        callback=_compare,
        help="Tell what changed from one --json file to another, and what is noise.",
        short_help="What changed from one --json file to another, and what is noise.",
        context_settings=_WIDE,
    )
    command.examples = ("compare old.json new.json",)
    return command


load: Final = _Load(
    "load",
    help="Load a relay through its public protocol, verify all of it, show its cost.",
    commands=[*map(_scenario, ROWS), _comparison()],
    subcommand_metavar="SCENARIO [OPTIONS]",
    no_args_is_help=False,
    context_settings=_WIDE,
)


def main(argv: list[str]) -> int:
    """Do what `argv` asks for, as `python -m relay.loadgen`, and return the exit code."""
    try:
        code = load.main(argv, prog_name="python -m relay.loadgen", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return EXIT_INTERRUPTED
    return int(code or 0)
