"""What a running relay takes of another settings file, and what has to wait for a restart."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from relay.errors import SettingsError
from relay.settings.agreement import disagreements, lacks
from relay.settings.catalogue import Catalogue
from relay.settings.rows import Setting, Table, plain
from relay.settings.tables import TABLES, Settings
from relay.settings.words import HIDDEN, one_line


class Reload(NamedTuple):
    """What becomes of settings that were read again: `changed` are (old, new) by key."""

    settings: Settings
    changed: dict[str, tuple[object, object]]
    needs_restart: list[str]


def apply_live(
    running: Settings, wanted: Settings, extensions: Mapping[str, type[Table]] | None = None
) -> Reload:
    """Return `running` with all of `wanted` that can change without a restart.

    `extensions` are the tables of the extensions that run, by name. A table that `wanted` has
    besides is of an extension that would have to be loaded first, as server.extensions tells.

    Raises:
        SettingsError: what would change does not go together with what stays as it is.
    """
    extensions = extensions or {}
    own: dict[str, Any] = {}
    others = dict(running.extensions)
    changed: dict[str, tuple[object, object]] = {}
    needs_restart: list[str] = []
    mistakes: list[str] = []
    for table, rows in Catalogue(extensions).tables.items():
        old = values_in(running, table, rows)
        # An extension that `wanted` drops runs on until the restart, and as it did.
        new = {**old, **values_in(wanted, table, rows)} if _has(wanted, table) else old
        differing = [row for name, row in rows.items() if old[name] != new[name]]
        needs_restart += [row.key for row in differing if row.row.restart]
        live = [row for row in differing if not row.row.restart]
        changed |= {
            row.key: (HIDDEN, HIDDEN) if row.row.secret else (old[row.name], new[row.name])
            for row in live
        }
        values = {row.name: new[row.name] for row in live}
        if table in TABLES:
            own[table] = msgspec.structs.replace(getattr(running, table), **values)
            continue
        try:
            others[table] = plain(msgspec.convert({**old, **values}, extensions[table]))
        except msgspec.ValidationError as error:  # by its __post_init__
            mistakes.append(f"[{table}] is not allowed as long as nothing restarts: {error}")
    settings = Settings(**own, extensions=others)

    def name_of(key: str) -> str:
        return f"{key} (needs a restart to change)" if key in needs_restart else key

    mistakes += [line for _, line in disagreements(settings, name_of)]
    mistakes += [lack.line for lack in lacks(settings)]
    if mistakes:
        raise SettingsError(*map(one_line, mistakes))
    return Reload(settings, changed, needs_restart)


def _has(settings: Settings, table: str) -> bool:
    return table in TABLES or table in settings.extensions


def values_in(settings: Settings, table: str, rows: Mapping[str, Setting]) -> dict[str, Any]:
    """Return what `settings` has of a table, by name, in full."""
    if table in TABLES:
        return {name: getattr(getattr(settings, table), name) for name in rows}
    defaults = {name: plain(row.default) for name, row in rows.items()}
    return {**defaults, **settings.extensions.get(table, {})}
