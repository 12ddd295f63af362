"""The command line of `supervisor.py`: its options, over the settings file, over the defaults."""

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from relay import __version__
from relay.errors import SettingsError
from relay.settings.load import load_settings, override, resolve
from relay.settings.tables import Settings

DEFAULTS: Final = Settings()

EPILOG: Final = """\
signals:
  SIGTERM, SIGINT      stop in order: the fronts, then the workers; a second SIGINT hurries
  SIGHUP               read the settings and the groups again; a bad file is refused, the old stay
  SIGUSR2              renew every process, one after another, while the others serve

exit codes:
  0 stopped by a signal   1 cannot start (one line on stderr says why)   2 bad usage or settings

examples:
  python supervisor.py --workers 8
  python supervisor.py --config config/relay.toml --groups groups.json
  python supervisor.py --port 0 --data /tmp/trial --durability os
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message} (--help shows all options)")


def _parser() -> argparse.ArgumentParser:
    # The values are checked by relay.settings, as in a file; `dest` is the setting's key.
    server = DEFAULTS.server
    parser = _Parser(
        prog="supervisor.py",
        usage="%(prog)s [options]",
        description="Run the relay: fronts that speak WebSocket with the clients, and workers that"
        " keep\ntheir mailboxes. Prints one line to stdout when all of them serve; logs to stderr.",
        epilog=EPILOG,
        formatter_class=partial(
            argparse.RawDescriptionHelpFormatter, max_help_position=23, width=96
        ),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    group = parser.add_argument_group("processes")
    per_core = "one per two cores, at least 1"
    group.add_argument(
        "--workers",
        dest="server.workers",
        metavar="N",
        help=f"workers, each owning a share of the users (default: {per_core}); with another number"
        " than before the data are first laid out anew",
    )
    group.add_argument(
        "--fronts",
        dest="server.fronts",
        metavar="N",
        help=f"fronts, sharing the port (default: {per_core})",
    )
    group = parser.add_argument_group("network")
    group.add_argument(
        "--host",
        dest="server.host",
        metavar="ADDRESS",
        help=f"address to listen on (default: {server.host})",
    )
    group.add_argument(
        "--port",
        dest="server.port",
        metavar="N",
        help=f"port to listen on; 0 takes a free one (default: {server.port})",
    )
    group.add_argument(
        "--insecure-open",
        dest="server.insecure_open",
        action="store_true",
        help="allow a host that other machines reach, though anyone there can be anyone",
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "--data",
        dest="server.data",
        metavar="DIR",
        help=f"directory of the stores, made if missing (default: {server.data})",
    )
    group.add_argument(
        "--durability",
        dest="store.durability",
        metavar="MODE",
        help="fsync: ack 1 means on the disk; os: it survives a killed process, not a power cut"
        f" (default: {DEFAULTS.store.durability})",
    )
    group.add_argument(
        "--groups", dest="server.groups", metavar="FILE", help="groups and their members, JSON"
    )
    group = parser.add_argument_group("settings and log")
    group.add_argument(
        "--config",
        metavar="FILE",
        help="settings, TOML; an option beats the file (config/relay.toml shows every default)",
    )
    group.add_argument(
        "--log-format",
        dest="log.format",
        metavar="FORMAT",
        help=f"text or json, one line an event (default: {DEFAULTS.log.format})",
    )
    group.add_argument(
        "--log-level",
        dest="log.level",
        metavar="LEVEL",
        help=f"debug, info, warning or error (default: {DEFAULTS.log.level})",
    )
    group.add_argument(
        "--version", help="show the version", action="version", version=f"relay {__version__}"
    )
    group.add_argument("--help", "-h", action="help", help="show this help")
    return parser


class Sources(NamedTuple):
    """Where the settings of one relay come from: a file, and the options that beat it, by key."""

    config: Path | None
    options: Mapping[str, object]

    def load(self) -> Settings:
        """Return the settings that the file now asks for, resolved for this machine.

        Raises:
            SettingsError: one line naming the option, or the file and key, and what is allowed.
        """
        settings = override(load_settings(self.config), self.options)
        return resolve(settings, cpu_count=len(os.sched_getaffinity(0)))


def parse_arguments(argv: list[str]) -> Sources:
    """Return the sources of settings that `argv` names; nothing is read yet.

    Raises:
        SettingsError: one line naming what is no option.
        SystemExit: --help or --version, which have been answered.
    """
    options = vars(_parser().parse_args(argv))
    config = options.pop("config", None)
    return Sources(Path(config) if config is not None else None, options)
