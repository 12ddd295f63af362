"""Where the settings of one relay come from, to be read at its start and again on SIGHUP."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from relay.settings.catalogue import TablesOf, no_tables
from relay.settings.load import Draft, draft_settings, resolve
from relay.settings.tables import Settings
from relay.settings.wanted import with_wanted


class Sources(NamedTuple):
    """A settings file, and the options that beat it, by key; and whether only to check them.

    `take_over` and `rehearse` are descriptors that a supervisor gives to its successor
    (relay.supervision.handover).
    """

    config: Path | None
    options: Mapping[str, object]
    check_only: bool = False
    take_over: int | None = None
    rehearse: int | None = None

    def load(self, tables_of: TablesOf = no_tables) -> Settings:
        """Return the settings that the file now asks for, resolved for this machine.

        With as many workers as an operator wants, unless an option says how many.

        `tables_of` tells the tables of the extensions that they may load and set.

        Raises:
            SettingsError: a line a mistake, naming the option, or the file and key, and what is
                allowed.
        """
        settings = self.draft(tables_of).checked()
        if not self.sets_workers:
            settings = with_wanted(settings)
        return resolve(settings, cpu_count=len(os.sched_getaffinity(0)))

    @property
    def sets_workers(self) -> bool:
        """Whether the command line says how many workers there are."""
        return "server.workers" in self.options

    def draft(self, tables_of: TablesOf = no_tables) -> Draft:
        """Return the settings as they are asked for, with all mistakes; not resolved."""
        return draft_settings(self.config, self.options, tables_of)
