"""`python -m tests.chaos`: try a relay by killing it, and prove that it kept what it promised."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from tests.hosts.hosts import why_none
from tests.outside import node
from tests.outside.processes import REPOSITORY
from tests.outside.releases import version_of

from .noderun import NodeRun, Verdict
from .run import GATHERING, Options, Outcome, Run, banner, to_stdout
from .sabotage import NAMES, NAMES_OF_MANY_HOSTS

DEFAULTS = Options()
RANGES = 4  # two processes each
EPILOG = """\
exit codes: 0 every promise was kept   1 one was broken, or the run failed   2 bad usage

A seed fixes the load's and the faults' draws, not the order in which processes run: the same seed
tries the same things again, and may find another interleaving.
"""


def parse(argv: list[str]) -> Options:
    """Return what the command line asks for; bad usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Start a relay, load it with clients, kill and freeze its processes at random,"
        " and check from the clients' sockets alone that nothing acked was lost, repeated,"
        " reordered or forged.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=_positive, default=DEFAULTS.seconds, help="length of the storm")
    add("--seed", type=int, default=DEFAULTS.seed, help="of everything random")
    add(
        "--hosts",
        type=int,
        default=DEFAULTS.hosts,
        help="so many hosts are one relay, each in a network namespace and on a disk of its own:"
        " they are killed, cut off, frozen, lose their power or their engine, 25 s apart, while"
        " the kills strike processes, ranges are moved and hosts drained; takes root",
    )
    add("--workers", type=_count, help="2; with --hosts the ranges, 4")
    add("--fronts", type=_count, default=DEFAULTS.fronts)
    add("--users", type=_count, default=DEFAULTS.users)
    add("--groups", type=int, default=DEFAULTS.groups, help="groups of up to 8 users")
    add(
        "--kills-per-minute",
        type=float,
        default=DEFAULTS.kills_per_minute,
        help="SIGKILLs; besides, half as many processes are frozen for 1 to 3 s, and for each ten"
        " there is a rolling restart",
    )
    add("--rate", type=_positive, default=DEFAULTS.rate, help="sends a second, of all together")
    add(
        "--reshard",
        action="store_true",
        help="start each new supervisor with another number of workers, at most one more",
    )
    add(
        "--client",
        choices=["sheet", "node"],
        default=DEFAULTS.client,
        help="whose users: the sheet's frames, judged by a ledger of our own; or the JavaScript"
        " client's in Node, judged by the load generator's verifier by what the client tells",
    )
    add("--tls", action="store_true", help="over TLS, with a certificate of an authority of ours")
    add("--tokens", action="store_true", help="each login shows a token that the relay checks")
    add(
        "--gather",
        choices=list(GATHERING),
        default=DEFAULTS.gather,
        help="how long processes gather, and acks ride: not at all, or as long as they ever may",
    )
    add(
        "--sabotage",
        choices=[*NAMES, *(name for name in NAMES_OF_MANY_HOSTS if name not in NAMES)],
        help="start a relay that breaks a promise, to see that this is found: "
        + "; ".join(f"{name}: {what}" for name, what in NAMES.items())
        + ". With --hosts: "
        + "; ".join(f"{name}: {what}" for name, what in NAMES_OF_MANY_HOSTS.items()),
    )
    add(
        "--upgrade",
        type=Path,
        metavar="TREE",
        help="with --hosts, instead of all faults: begin with that checkout, of another version;"
        " give each host this one, drained, then that one again, by a mere stop",
    )
    add("--keep", type=Path, help="use this new directory for data and log, and leave it there")
    given = parser.parse_args(argv)
    if given.keep is not None and given.keep.exists():
        parser.error(f"--keep {given.keep}: exists already")
    if min(given.groups, given.kills_per_minute) < 0:
        parser.error("--groups and --kills-per-minute are 0 or more")
    if given.upgrade is not None:
        if not given.hosts:
            parser.error("--upgrade needs --hosts")
        if given.sabotage:
            parser.error("--upgrade has no --sabotage")
        given.upgrade = given.upgrade.resolve()
        if not (given.upgrade / "supervisor.py").exists():
            parser.error(f"--upgrade {given.upgrade}: no relay is there")
        if version_of(given.upgrade) == version_of(REPOSITORY):
            parser.error("--upgrade needs a checkout that names itself by another version")
    if given.client == "node":
        if given.tls:
            parser.error("--client node has no --tls")
        if node.executable() is None:
            parser.error("--client node needs node")
    if given.hosts:
        if not 3 <= given.hosts <= 5:
            parser.error("--hosts is from 3 to 5")
        for name in ("tls", "reshard"):
            if getattr(given, name):
                parser.error(f"--hosts has no --{name}")
        if given.client == "node":
            parser.error("--client node has no --hosts")
        if why := why_none():
            parser.error(f"--hosts: there can be none here: {why}")
    names = NAMES_OF_MANY_HOSTS if given.hosts else NAMES
    if given.sabotage not in (None, *names):
        parser.error(f"--sabotage {given.sabotage}: here it is one of {', '.join(names)}")
    if given.workers is None:
        given.workers = RANGES if given.hosts else DEFAULTS.workers
    return Options(**vars(given))


def _count(text: str) -> int:
    if not 0 < int(text) <= 10_000:
        raise ValueError
    return int(text)


def _positive(text: str) -> float:
    if not float(text) > 0:
        raise ValueError
    return float(text)


async def _run(options: Options) -> int:
    running = asyncio.ensure_future(_go(options))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        outcome = await running
    except asyncio.CancelledError:
        to_stdout("interrupted")
        return 1
    for line in outcome.lines:
        to_stdout(line)
    to_stdout("" if outcome.exit_code else "every promise was kept")
    return outcome.exit_code


async def _go(options: Options) -> Outcome | Verdict:
    if options.client == "node":
        return await NodeRun(options, to_stdout, node=node.executable() or "").go()
    return await Run(options, to_stdout).go()


def main(argv: list[str]) -> int:
    """Run what `argv` asks for; return the exit code."""
    options = parse(argv)
    to_stdout(banner(options))
    return asyncio.run(_run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
