"""Where the settings of one relay come from: a file that may change, and options that do not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import Meta

from relay.errors import SettingsError
from relay.settings.rows import Row, Table
from relay.settings.sources import Sources


def test_the_file_is_read_again_with_the_same_options_over_it(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[server]\nport = 1234\nworkers = 5\n")
    sources = Sources(config, {"server.port": "4321"})
    before = sources.load()

    config.write_text("[server]\nport = 5678\nworkers = 6\n")
    after = sources.load()

    assert (before.server.port, before.server.workers) == (4321, 5)
    assert (after.server.port, after.server.workers) == (4321, 6)


class AuditSettings(Table, frozen=True):
    """[audit]: what is written down."""

    lines: Annotated[int, Meta(ge=1, le=1000), Row("Lines of it.")] = 10


def test_the_tables_of_extensions_are_those_of_the_modules_that_the_file_names(
    tmp_path: Path,
) -> None:
    asked: list[Sequence[str]] = []

    def tables_of(modules: Sequence[str]) -> Mapping[str, type[Table]]:
        asked.append(modules)
        return {"audit": AuditSettings}

    config = tmp_path / "relay.toml"
    config.write_text('[server]\nextensions = ["a.b", "c"]\n[audit]\nlines = 3\n')

    settings = Sources(config, {}).load(tables_of)

    assert asked == [("a.b", "c")]
    assert settings.extensions == {"audit": {"lines": 3}}


def test_all_mistakes_of_file_and_options_are_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "relay.toml"
    config.write_text("[server]\nprot = 1234\n")

    with pytest.raises(SettingsError) as refused:
        Sources(config, {"server.port": "x", "server.host": "0.0.0.0"}).load()

    assert len(refused.value.problems) == 3
