"""How a data directory is laid out: which stores count, and for how many workers they are.

    data/lock             held by the supervisor
    data/meta.json        the layout: its format, generation and number of workers
    data/banned.json      users whom operators have thrown out, if any (relay.auth.banned)
    data/revoked.json     tokens that operators have revoked, if any (relay.auth.revoked)
    data/groups-made.json groups that operators have made through the admin, if any
    data/accord.json      the settings and groups of all hosts of a cluster (relay.disk.accord)
    data/agreed.json      what the files of this host said when they last agreed with them
    data/shared-files/    keys and secrets of all hosts, for the processes of this one
    data/webhooks.json    that an endpoint for events wants none, while it has said so
    data/boots            how often a supervisor has begun here, of a host of a cluster
    data/workers-wanted.json  how many workers an operator wants, if any (relay.settings.wanted)
    data/engine/          what the engine of a cluster keeps, if there is one
    data/gen-3/worker-0/  the store of worker 0 in generation 3, and so on

meta.json is only ever replaced whole. Every store that it speaks of was complete before it did, so
a store that is missing was lost, and no one may start without it. A generation that it does not
speak of is unfinished or out of use, and is removed (`workers.tools.reshard`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from relay.disk.files import replace_file
from relay.errors import BootError
from relay.settings.givenfile import Unreadable, read_file
from relay.settings.tables import MAX_PROCESSES

# Of meta.json and of what is in the stores.
DATA_FORMAT: Final = 4

KEYS_FILE: Final = "token-keys.json"  # those that were fetched last, written at each fetch
_MOST_BYTES: Final = 64 * 1024  # of meta.json, which has some fifty
_GENERATION: Final = "gen-"
# What a generation is called while it is being removed: one of its proper name is whole.
_DISCARDED: Final = "discarded-"


class Layout(msgspec.Struct, frozen=True):
    """What meta.json says. Generation 0 is that of a data directory in which nothing is yet."""

    format: int = DATA_FORMAT
    generation: Annotated[int, Meta(ge=0)] = 0
    workers: Annotated[int, Meta(ge=0, le=MAX_PROCESSES)] = 0

    def store_directory(self, data: Path, worker: int) -> Path:
        """Return where the store of `worker` is."""
        return generation_directory(data, self.generation) / f"worker-{worker}"


class _Format(msgspec.Struct, frozen=True):
    format: int


def meta_path(data: Path) -> Path:
    """Return where the layout of `data` is written."""
    return data / "meta.json"


def bans_path(data: Path) -> Path:
    """Return where the users are who were thrown out; the file is missing until one was."""
    return data / "banned.json"


def revocations_path(data: Path) -> Path:
    """Return where the tokens are that were revoked; the file is missing until one was."""
    return data / "revoked.json"


def groups_path(data: Path) -> Path:
    """Return where the groups are that were made through the admin; it may be missing."""
    return data / "groups-made.json"


def webhooks_path(data: Path) -> Path:
    """Return where it stands that an endpoint for events wants none; mostly it is missing."""
    return data / "webhooks.json"


def boots_path(data: Path) -> Path:
    """Return where a host of a cluster counts how often it has begun."""
    return data / "boots"


def generation_directory(data: Path, generation: int) -> Path:
    """Return where the stores of one generation are."""
    return data / f"{_GENERATION}{generation}"


def read_layout(data: Path) -> Layout:
    """Return the layout of the data directory `data`, be it empty.

    Raises:
        BootError: one line: it is of another version, damaged, or missing where there are stores.
    """
    path = meta_path(data)
    try:
        content = read_file(path, max_bytes=_MOST_BYTES).content
        found = msgspec.json.decode(content, type=_Format).format
        if found != DATA_FORMAT:
            raise BootError(
                f"data directory {data} has format {found}, but this version reads format"
                f" {DATA_FORMAT}: start the version that wrote it, or move it away to start empty"
            )
        return msgspec.json.decode(content, type=Layout)
    except FileNotFoundError:
        if any(data.glob(_GENERATION + "*")) or any(data.glob("worker-*")):
            raise BootError(
                f"data directory {data} holds stores but no meta.json, which tells their"
                " layout: restore that file"
            ) from None
        return Layout()
    except Unreadable as error:
        raise BootError(f"{path} cannot be read: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BootError(f"{path} is damaged: {error}; restore that file") from None


def write_layout(data: Path, layout: Layout) -> None:
    """Make `layout` the one that counts, durably.

    Raises:
        DiskError: it cannot be written; the one of before stands.
    """
    replace_file(meta_path(data), msgspec.json.encode(layout))


def is_settled(data: Path, layout: Layout, *, workers: int) -> bool:
    """Tell whether the stores of `data` are for so many workers and no others are there."""
    return layout.workers == workers and not leftovers(data, layout)


def leftovers(data: Path, layout: Layout) -> list[Path]:
    """Return the directories of generations that do not count."""
    counts = generation_directory(data, layout.generation)
    found = [*data.glob(_GENERATION + "*"), *data.glob(_DISCARDED + "*")]
    return sorted(path for path in found if path != counts or not layout.generation)


def discarded(generation: Path) -> Path:
    """Return what `generation` is renamed to, so that it is seen either whole or not at all."""
    return generation.with_name(generation.name.replace(_GENERATION, _DISCARDED, 1))
