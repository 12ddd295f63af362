"""The settings that are one for all hosts of a cluster: their values, and settings with others.

Which they are the rows say (`Setting.is_shared`): those that a reload takes, but for what is of a
host's own machine. Of files that some name what they hold is shared (`Row.content`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from relay.errors import SettingsError
from relay.settings.catalogue import Catalogue
from relay.settings.layer import SourceLayer
from relay.settings.reload import values_in
from relay.settings.rows import Table, plain
from relay.settings.tables import SETTINGS, Settings

_OF_TOKENS: Final = "auth_token"
# Begins each line of what is wrong with them.
PLACE: Final = "the settings of the cluster: "


def shared_values(settings: Settings, extensions: Mapping[str, type[Table]]) -> dict[str, Any]:
    """Return what `settings` say of each that is shared, by key, as JSON has it.

    `extensions` are the tables of the extensions that run, by name.
    """
    return {
        rows[name].key: plain(value)
        for table, rows in Catalogue(extensions).tables.items()
        for name, value in values_in(settings, table, rows).items()
        if rows[name].is_shared
    }


def with_shared(
    settings: Settings, values: Mapping[str, Any], extensions: Mapping[str, type[Table]]
) -> Settings:
    """Return `settings` with those `values`, by key; not yet judged together.

    What is not shared here is passed over: another version may have said it.

    Raises:
        SettingsError: a value is not allowed here.
    """
    catalogue = Catalogue(extensions)
    document: dict[str, dict[str, Any]] = {}
    for table, rows in catalogue.tables.items():
        for name, setting in rows.items():
            if setting.is_shared and setting.key in values:
                document.setdefault(table, {})[name] = values[setting.key]
    layer = SourceLayer(catalogue, PLACE, str, strict=True)
    taken = layer.over(settings, document)
    if layer.mistakes:
        raise SettingsError(*layer.mistakes)
    return taken


def named_files(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Return the files whose content is shared, by the key that names them.

    Those that nobody reads are none, as keys of tokens are in another mode than "token".
    """
    found = {}
    for key, setting in SETTINGS.items():
        if not setting.row.content or (
            setting.table == _OF_TOKENS and settings.auth.mode != "token"
        ):
            continue
        value = getattr(getattr(settings, setting.table), setting.name)
        paths = (value,) if isinstance(value, str) else tuple(value)
        if any(paths):
            found[key] = paths
    return found


def with_files(settings: Settings, files: Mapping[str, Sequence[str]]) -> Settings:
    """Return `settings` that name other `files`, by the key that does."""
    for key, paths in files.items():
        table, name = SETTINGS[key].table, SETTINGS[key].name
        held = getattr(settings, table)
        value = paths[0] if isinstance(getattr(held, name), str) else tuple(paths)
        changed = msgspec.structs.replace(held, **{name: value})
        settings = msgspec.structs.replace(settings, **{table: changed})
    return settings
