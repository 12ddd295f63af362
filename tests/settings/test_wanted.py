"""How many workers an operator wants from the next start on."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from relay.errors import SettingsError
from relay.settings.sources import Sources
from relay.settings.tables import ServerSettings, Settings
from relay.settings.wanted import WorkersWanted, read_wanted, wanted_path, with_wanted


def want(data: Path, workers: int, instead_of: int) -> None:
    wanted_path(data).write_bytes(msgspec.json.encode(WorkersWanted(workers, instead_of)))


def workers_of(data: Path, said: int) -> int:
    settings = Settings(server=ServerSettings(workers=said, data=str(data)))
    return with_wanted(settings).server.workers


def test_it_counts_as_long_as_the_settings_say_what_they_said(tmp_path: Path) -> None:
    assert workers_of(tmp_path, 2) == 2
    want(tmp_path, 4, instead_of=2)

    assert workers_of(tmp_path, 2) == 4
    assert workers_of(tmp_path, 3) == 3


def test_settings_that_leave_it_to_the_machine_are_such_too(tmp_path: Path) -> None:
    want(tmp_path, 4, instead_of=0)

    assert workers_of(tmp_path, 0) == 4


def test_the_command_line_counts_over_it(tmp_path: Path) -> None:
    want(tmp_path, 4, instead_of=2)
    options = {"server.data": str(tmp_path), "server.workers": "2"}

    assert Sources(None, options).load().server.workers == 2
    config = tmp_path / "relay.toml"
    config.write_text(f'[server]\nworkers = 2\ndata = "{tmp_path}"\n')
    assert Sources(config, {}).load().server.workers == 4


def test_a_file_that_is_damaged_is_no_other_number(tmp_path: Path) -> None:
    wanted_path(tmp_path).write_text('{"workers": 0, "instead_of": 2}')

    with pytest.raises(SettingsError, match=r"workers-wanted\.json is damaged"):
        read_wanted(tmp_path)


def test_where_there_is_no_data_directory_nothing_is_wanted(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    assert read_wanted(tmp_path / "gone") is None
    assert read_wanted(file) is None
