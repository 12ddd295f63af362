"""Where a child stands: the settings that it began with, and those that hold now."""

import socket
from pathlib import Path

import msgspec
import pytest

from relay import log
from relay.process.channel import child_end
from relay.process.place import Place, read_settings
from relay.settings.tables import LogSettings, ServerSettings, Settings


def test_settings_are_read_anew_and_the_first_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconfigured: list[tuple[str, str]] = []
    monkeypatch.setattr(log, "reconfigure", lambda *words: reconfigured.append(words))
    path = tmp_path / "settings.json"
    first = Settings(server=ServerSettings(data="/there"))
    path.write_bytes(msgspec.json.encode(first))
    ours, theirs = socket.socketpair()
    with ours:
        place = Place(tmp_path, 0, 1, read_settings(tmp_path), child_end(theirs.detach()))

        second = msgspec.structs.replace(first, log=LogSettings(format="json", level="debug"))
        path.write_bytes(msgspec.json.encode(second))

        assert place.read_settings() == second
        assert place.settings == first
        assert place.data_dir == Path("/there")
        assert reconfigured == [("json", "debug")]
        place.control.close()
