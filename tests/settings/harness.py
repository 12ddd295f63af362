"""What the tests of settings share: every key, and a file that is read or refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from relay.errors import SettingsError
from relay.settings.catalogue import TablesOf, no_tables
from relay.settings.load import load_settings
from relay.settings.rows import plain
from relay.settings.tables import TABLES, Settings

CONFIG = Path(__file__).parents[2] / "config"
DEFAULTS: Mapping[str, Mapping[str, Any]] = {table: plain(kind()) for table, kind in TABLES.items()}
KEYS = [f"{table}.{key}" for table, keys in DEFAULTS.items() for key in keys]


def load(tmp_path: Path, text: str, tables_of: TablesOf = no_tables) -> Settings:
    path = tmp_path / "relay.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, tables_of)


def mistakes(tmp_path: Path, text: str, tables_of: TablesOf = no_tables) -> list[str]:
    """Return what is said of a file that is refused, without the path that begins each line."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, tables_of)
    place = f"{tmp_path / 'relay.toml'}: "
    for line in (str(caught.value), *caught.value.problems):
        assert line.startswith(place)
        assert line.isprintable(), "not one line"
    return [line.removeprefix(place) for line in caught.value.problems]


def refusal(tmp_path: Path, text: str, tables_of: TablesOf = no_tables) -> str:
    """Return what is said of a file that is refused for one mistake."""
    [line] = mistakes(tmp_path, text, tables_of)
    return line
