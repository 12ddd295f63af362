"""How many workers an operator wants from the next start on, whatever the settings file says.

    data/workers-wanted.json    {"workers": 4, "instead_of": 2}

The supervisor writes it, when an operator asks for it (`relay workers 4`). It counts as long as the
settings say what they said then: who changes them later means that. The command line beats it.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from relay.errors import SettingsError
from relay.settings.tables import MAX_PROCESSES, Settings

_MAX_BYTES = 1000


class WorkersWanted(msgspec.Struct, frozen=True):
    """So many, in place of those of the settings; 0 of them: as many as suit the machine."""

    workers: Annotated[int, msgspec.Meta(ge=1, le=MAX_PROCESSES)]
    instead_of: int


def wanted_path(data: Path) -> Path:
    """Return where it is; the file is missing where nothing else is wanted."""
    return data / "workers-wanted.json"


def read_wanted(data: Path) -> WorkersWanted | None:
    """Return what is wanted, None for nothing.

    Raises:
        SettingsError: the file is unusable; without it the settings count.
    """
    path = wanted_path(data)
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=WorkersWanted)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None  # what else is wrong with the data directory is told by who needs it
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise SettingsError(f"{path} is damaged: {error}; remove it, or mend it") from None


def with_wanted(settings: Settings) -> Settings:
    """Return settings, as a file has them, with what is wanted in place of what they say.

    Raises:
        SettingsError: as `read_wanted`.
    """
    server = settings.server
    if settings.cluster.is_on:  # they are its ranges, for good
        return settings
    wanted = read_wanted(Path(server.data))
    if wanted is None or wanted.instead_of != server.workers:
        return settings
    return msgspec.structs.replace(
        settings, server=msgspec.structs.replace(server, workers=wanted.workers)
    )
