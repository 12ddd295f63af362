"""Where a child process stands in its relay: what the supervisor gave it at its start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from relay import log
from relay.process.channel import ChildEnd
from relay.settings.tables import Settings


class Place(msgspec.Struct, frozen=True):
    """Where this process stands in its relay; see relay.supervision.child for who sets what."""

    run_dir: Path
    index: int
    incarnation: int
    settings: Settings
    control: ChildEnd

    @property
    def data_dir(self) -> Path:
        """The directory that holds every worker's store."""
        return Path(self.settings.server.data)

    def read_settings(self) -> Settings:
        """Return the settings as they are now, and log as they say; `settings` stays the first."""
        settings = read_settings(self.run_dir)
        log.reconfigure(settings.log.format, settings.log.level)
        log.get_logger().debug("settings.taken")
        return settings


def read_settings(run_dir: Path) -> Settings:
    """Return the settings as they are now in the run directory."""
    return msgspec.json.decode((run_dir / "settings.json").read_bytes(), type=Settings)
