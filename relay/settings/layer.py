"""One source of settings, a file or the command line, laid over others and checked."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from relay.settings.agreement import disagreements
from relay.settings.catalogue import Catalogue
from relay.settings.rows import plain
from relay.settings.tables import TABLES, Settings
from relay.settings.words import HIDDEN, one_line, shown


class SourceLayer:
    """One source of settings: checks its values and lays them over others.

    It goes on after a mistake, so that all are told at once. `place` begins each line; `name_of`
    gives the source's name of a dotted key. Not `strict`: numbers and truth values may be spelled
    as strings.
    """

    def __init__(
        self, catalogue: Catalogue, place: str, name_of: Callable[[str], str], *, strict: bool
    ) -> None:
        self._catalogue = catalogue
        self._place = place
        self._name_of = name_of
        self._strict = strict
        # One line each, in the order of the source.
        self.mistakes: Final[list[str]] = []
        # The keys of settings whose value is not known, since a mistake was made of it.
        self.refused: Final[set[str]] = set()

    def over(self, base: Settings, document: Mapping[str, Any]) -> Settings:
        """Return `base` with what `document` says of it; where it makes a mistake, as in `base`."""
        tables: dict[str, Any] = {}
        extensions = dict(base.extensions)
        for table, content in document.items():
            if table not in self._catalogue.tables:
                is_table = isinstance(content, dict)
                self._mistake(
                    self._catalogue.unknown_table(table)
                    if is_table
                    else self._catalogue.unknown_key("", table)
                )
            elif not isinstance(content, dict):
                said = HIDDEN if self._has_secrets(table) else shown(content)
                self._mistake(f"{table} = {said} must be a table: [{table}]")
                self.refused.update(self._keys(table))
            elif table in TABLES:
                values = self._values(table, content)
                tables[table] = msgspec.structs.replace(getattr(base, table), **values)
            else:
                values = plain(self._values(table, content))
                extensions[table] = self._extension(table, {**extensions.get(table, {}), **values})
        return msgspec.structs.replace(base, **tables, extensions=extensions)

    def judge_together(self, settings: Settings, *, but: frozenset[str] = frozenset()) -> None:
        """Make a mistake of each setting that another forbids, but of those in `but`."""
        for key, line in disagreements(settings, self._name_of, but=but | self.refused):
            self._mistake(line)
            self.refused.add(key)

    def _values(self, table: str, content: Mapping[str, Any]) -> dict[str, Any]:
        known = self._catalogue.tables[table]
        values: dict[str, Any] = {}
        for name, value in content.items():
            if name not in known:
                self._mistake(self._catalogue.unknown_key(table, name))
                continue
            setting = known[name]
            try:
                values[name] = msgspec.convert(value, setting.type, strict=self._strict)
            except msgspec.ValidationError:
                said = HIDDEN if setting.row.secret else shown(value)
                self._mistake(
                    f"{self._name_of(setting.key)} = {said} is not allowed; it must be"
                    f" {setting.allowed}"
                )
                self.refused.add(setting.key)
        return values

    def _extension(self, table: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.refused & self._keys(table):
            return values  # nobody will use them
        try:
            checked: Mapping[str, Any] = plain(
                msgspec.convert(values, self._catalogue.extensions[table])
            )
            return checked
        except msgspec.ValidationError as error:  # by __post_init__: its fields are checked
            self._mistake(f"[{table}] is not allowed: {one_line(str(error))}")
            self.refused.update(self._keys(table))
            return values

    def _keys(self, table: str) -> set[str]:
        return {setting.key for setting in self._catalogue.tables[table].values()}

    def _has_secrets(self, table: str) -> bool:
        return any(setting.row.secret for setting in self._catalogue.tables[table].values())

    def _mistake(self, problem: str) -> None:
        self.mistakes.append(self._place + problem)
