"""`python -m tests.trials`: overload a relay, or kill its workers, and see what it costs others."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import os
import resource
import signal
import subprocess
import sys
from typing import Any, Final

import uvloop
from rich.console import Console

from .acks import Acks
from .before_login import BeforeLogin
from .evict import Evict
from .flood import Flood
from .full_mailbox import FullMailbox
from .group import Group
from .headers import Headers
from .heavy_login import HeavyLogin
from .numbers import Numbers
from .quota import Quota
from .recovery import Recovery
from .refusals import Refusals
from .report import Findings, show
from .slow_reader import SlowReader
from .stage import Trial, run
from .stopped_worker import StoppedWorker
from .strangers import Strangers
from .strays import Strays
from .tls_half_open import TlsHalfOpen

TRIALS: Final[tuple[type[Trial], ...]] = (
    SlowReader,
    Flood,
    Group,
    StoppedWorker,
    FullMailbox,
    Recovery,
    Strangers,
    Numbers,
    BeforeLogin,
    Acks,
    Headers,
    Evict,
    Quota,
    Refusals,
    HeavyLogin,
    Strays,
    TlsHalfOpen,
)
EPILOG: Final = """\
exit codes: 0 every claim holds   1 one does not, or the trial failed   2 bad usage
"""


def parse(argv: list[str]) -> Trial:
    """Return the trial that the command line asks for; bad usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.trials",
        description="Start a relay and try it: overload or a worker's death, and what others feel.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="trial", required=True, metavar="NAME")
    for kind in TRIALS:
        what = (kind.__doc__ or "").strip()
        command = commands.add_parser(
            kind.name,
            help=what,
            description=what,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        for each in dataclasses.fields(kind):
            command.add_argument(
                "--" + each.name.replace("_", "-"),
                type=_not_negative(type(each.default)),
                default=each.default,
                help=each.metadata["help"],
            )
    given = vars(parser.parse_args(argv))
    name = given.pop("trial")
    [kind] = [kind for kind in TRIALS if kind.name == name]
    return kind(**given)


def _not_negative(kind: Any) -> Any:
    if kind is str:
        return str

    def number(text: str) -> Any:
        value = kind(text)
        if not value >= 0:
            raise ValueError
        return value

    return number


def banner(trial: Trial) -> str:
    """Return what is about to run, with every option."""
    options = dataclasses.asdict(trial)
    return f"trial {trial.name}  " + "  ".join(f"{name}={value}" for name, value in options.items())


def _run_in_session(argv: list[str]) -> int:
    """Run the same there, and end it when we are to end."""
    command = [sys.executable, "-m", "tests.trials", *argv]
    with subprocess.Popen(command, start_new_session=True) as process:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: process.terminate())
        return process.wait()


async def _run(trial: Trial, console: Console) -> Findings:
    running = asyncio.ensure_future(run(trial, console, nice=True))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    return await running


def main(argv: list[str]) -> int:
    """Run what `argv` asks for, in a session of its own; return the exit code."""
    trial = parse(argv)
    if os.getsid(0) != os.getpid():
        return _run_in_session(argv)
    console = Console()
    console.print(banner(trial), highlight=False, soft_wrap=True)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()
    try:
        findings = uvloop.run(_run(trial, console))
    except (asyncio.CancelledError, KeyboardInterrupt):
        console.print("interrupted")
        return 1
    except (AssertionError, TimeoutError, OSError) as error:
        console.print(f"[bold red]the trial failed[/]  {type(error).__name__}: {error}")
        return 1
    show(console, findings)
    return 1 if findings.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
