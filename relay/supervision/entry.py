"""The way in: from a command line to a supervisor that runs, and to its exit code."""

from __future__ import annotations

import asyncio
import faulthandler
import os
from functools import partial
from typing import Final

from relay import log, signals
from relay.auth.tls import all_warnings_of
from relay.disk.groupfile import load_groups
from relay.errors import RelayError, SettingsError
from relay.extensions.registry import tables_of
from relay.process import descriptors
from relay.settings.check import check_config, report
from relay.settings.commandline import PROGRAM, Sources, parse_arguments, serve_command
from relay.settings.tables import Settings
from relay.supervision.handover import Handover, read_handover, rehearse
from relay.supervision.identity import user_of
from relay.supervision.notice import STOPPING, give_notice
from relay.supervision.secretfiles import read_secrets, read_webhook_secrets
from relay.supervision.supervisor import Supervisor
from relay.supervision.terminal import minds_hangups

logger = log.get_logger()


def main(argv: list[str]) -> int:
    """Run the relay as the command line of `supervisor.py` says; return the exit code."""
    try:
        sources = parse_arguments(argv)
    except SettingsError as error:
        report(error.problems, PROGRAM)
        return 2
    return run(sources, program=PROGRAM)


def run(sources: Sources, *, program: str) -> int:
    """Run the relay that `sources` ask for, until a signal; return the exit code.

    What keeps it from starting is told on stderr, by the name of the `program`, or in the log where
    that is for machines.
    """
    faulthandler.enable()
    os.umask(0o077)  # what is stored here is nobody else's business
    descriptors.raise_limit()
    try:
        if sources.rehearse is not None:
            rehearse(read_handover(sources.rehearse))
            return 0
        if sources.check_only:
            return check_config(
                sources,
                load_groups,
                read_secrets,
                all_warnings_of,
                user_of,
                tables_of=tables_of,
                program=program,
            )
        if sources.take_over is not None:
            predecessor = read_handover(sources.take_over)
            settings = predecessor.settings
        else:
            predecessor, settings = None, sources.load(tables_of)
            read_webhook_secrets(settings)  # the admin, which needs them, may come late
        log.configure(settings.log.format, settings.log.level, process="supervisor")
        return asyncio.run(_supervise(sources, settings, predecessor))
    except SettingsError as error:
        return _refused(sources, error.problems, program, exit_code=2)
    except RelayError as error:
        return _refused(sources, (str(error),), program, exit_code=1)


serve: Final = serve_command(partial(run, program="relay serve"))


async def _supervise(sources: Sources, settings: Settings, predecessor: Handover | None) -> int:
    minds = predecessor.minds_terminal if predecessor else minds_hangups()
    supervisor = Supervisor(sources, settings, minds_terminal=minds)
    try:
        return await supervisor.run(predecessor)
    finally:
        give_notice(STOPPING)
        supervisor.close()


def _refused(sources: Sources, problems: tuple[str, ...], program: str, *, exit_code: int) -> int:
    signals.release()
    given = sources.draft(tables_of).settings.log
    if given.format == "json" and sources.rehearse is None:
        log.configure(given.format, given.level, process="supervisor")
        for problem in problems:
            logger.error("supervisor.cannot_start", reason=problem)
    else:
        report(problems, program)
    return exit_code
