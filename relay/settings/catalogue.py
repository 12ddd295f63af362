"""The tables and settings that there are: the relay's own, and those of the extensions it loads."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from relay.errors import SettingsError
from relay.settings.rows import Setting, Table, settings_in
from relay.settings.tables import SETTINGS, TABLES
from relay.settings.words import key_word, quoted

# Given server.extensions, returns the type of each table by its name, which is the extension's: of
# those modules, and of extensions that are always there. It raises SettingsError where a module
# cannot be loaded; each problem of it names the module.
TablesOf: TypeAlias = Callable[[Sequence[str]], Mapping[str, type[Table]]]

# A bare key of TOML that is a word; `extensions` is what Settings calls all of them.
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RESERVED: Final = frozenset(["extensions", *TABLES])


def no_tables(modules: Sequence[str]) -> Mapping[str, type[Table]]:
    """Return no table: the `TablesOf` of a relay without extensions."""
    return {}


class Catalogue:
    """What a settings file may say: every table, and every setting in it, by name and in order."""

    def __init__(self, extensions: Mapping[str, type[Table]]) -> None:
        """Know the relay's own tables, and those of `extensions` by name.

        Raises:
            SettingsError: a name is that of another table, or none that a table can have.
            TypeError: as `settings_in`.
        """
        for name in extensions:
            if name in _RESERVED:
                raise SettingsError(f"an extension cannot be called {quoted(name)}: it is taken")
            if not _NAME.fullmatch(name):
                raise SettingsError(
                    f"an extension cannot be called {quoted(name)}; a name is a lower-case letter"
                    " and up to 63 further ones, digits and _"
                )
        self.extensions: Final = extensions
        self.tables: Final[Mapping[str, Mapping[str, Setting]]] = {
            name: settings_in(name, kind) for name, kind in {**TABLES, **extensions}.items()
        }

    def unknown_table(self, name: str) -> str:
        """Say that the table `name` is not there, with the known one nearest to it."""
        near = difflib.get_close_matches(name, self.tables, n=1)
        if near:
            hint = f"did you mean [{near[0]}]?"
        else:
            hint = f"{self._known_tables()}; is it of an extension that server.extensions lacks?"
        return f"unknown table [{key_word(name)}]; {hint}"

    def unknown_key(self, table: str, name: str) -> str:
        """Say that [`table`] has no `name`, or with table "" that there is no such key at all."""
        home = self.tables.get(table, {})
        # A key of the same table that is spelled alike, or the same key of another table.
        near = [f"{table}.{each}" for each in difflib.get_close_matches(name, home, n=2)]
        near += [f"{other}.{name}" for other, settings in self.tables.items() if name in settings]
        key = f"{table}.{key_word(name)}" if table else key_word(name)
        if not near:
            near = difflib.get_close_matches(key, self._keys(), n=2)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        elif home:
            hint = f"known in [{table}]: {', '.join(home)}"
        else:
            hint = self._known_tables()
        return f"unknown key {key}; {hint}"

    def _known_tables(self) -> str:
        return f"known tables: {', '.join(self.tables)}"

    def _keys(self) -> list[str]:
        return [each.key for settings in self.tables.values() for each in settings.values()]


# Of a relay without extensions.
OWN: Final = Catalogue({})


def flag_of(key: str) -> str:
    """Return the command-line flag that sets the setting `key`, such as "server.port"."""
    setting = SETTINGS.get(key)
    if setting and setting.row.flag:
        return setting.row.flag.name
    return "--" + re.sub(r"[._]", "-", key)
