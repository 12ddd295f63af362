"""`relay cluster settings`: the accord of all hosts, and where the files of one say otherwise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from relay.cluster.caller import Caller
from relay.cluster.jetstream import ApiError
from relay.cluster.natswire import WireLost
from relay.cluster.shared import SharedDamaged, read_kept
from relay.disk.accord import MOST_BYTES, Accord, decode_accord, differences, rows_of
from relay.disk.groupfile import load_groups
from relay.errors import SettingsError
from relay.settings.givenfile import read_given
from relay.settings.load import draft_settings
from relay.settings.sharing import named_files, shared_values

_ANSWER_S: Final = 3.0


def accord_of(caller: Caller) -> Accord | None:
    """Return the accord that the engines have, None: none yet.

    Raises:
        click.ClickException: they cannot be asked, or it cannot be read.
    """
    try:
        kept = read_kept(caller.wire(), caller.cluster.name, "accord", _ANSWER_S)
        return None if kept.content is None else decode_accord(kept.content)
    except (WireLost, ApiError, TimeoutError, SharedDamaged, SettingsError) as error:
        raise click.ClickException(f"the settings of the cluster cannot be read: {error}") from None


def words_of_differences(accord: Accord, path: Path, groups: Path | None) -> Iterator[str]:
    """Yield where the files say something else, a line each; of extensions nothing.

    Raises:
        SettingsError: a file cannot be used.
    """
    settings = draft_settings(path, {"cluster.host_name": accord.origin.by}).settings
    given = groups or (Path(settings.server.groups) if settings.server.groups else None)
    limit = settings.limits.group_members
    own = load_groups(given, max_members=limit) if given else None
    held = {
        key: tuple(read_given(Path(each), max_bytes=MOST_BYTES) for each in paths)
        for key, paths in named_files(settings).items()
    }
    files = rows_of(shared_values(settings, {}), own, held)
    for each in differences(files, accord.rows):
        yield each.words(str(given if each.is_group else path))


def words_of_all(accord: Accord) -> Iterator[str]:
    """Yield each setting as a file has it."""
    for key, value in sorted(accord.settings.items()):
        yield f"{key} = {json.dumps(value)}"
