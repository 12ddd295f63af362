"""Where a child stands: the settings that it began with, and those that hold now."""

import socket
from pathlib import Path

import msgspec
import pytest

from relay import log
from relay.disk.groupfile import Group, pack_groups
from relay.process.channel import child_end
from relay.process.memo import write_memo
from relay.process.place import Place, read_groups, read_settings
from relay.settings.tables import LogSettings, ServerSettings, Settings


def test_settings_are_taken_anew_and_the_first_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconfigured: list[tuple[str, str]] = []
    monkeypatch.setattr(log, "reconfigure", lambda *words: reconfigured.append(words))
    first = Settings(server=ServerSettings(data="/there"))
    memo = write_memo("settings", msgspec.json.encode(first))
    ours, theirs = socket.socketpair()
    with ours:
        place = Place(tmp_path, 0, 1, read_settings(memo), child_end(theirs.detach()))
        second = msgspec.structs.replace(first, log=LogSettings(format="json", level="debug"))

        assert place.taken(second) == second
        assert place.settings == first
        assert place.data_dir == Path("/there")
        assert reconfigured == [("json", "debug")]
        place.control.close()


def test_groups_are_read_as_they_were_packed() -> None:
    groups = {
        local: Group(local=local, subject="S\u00e9", participants=("1", "2"), admins=("1",))
        for local in ("9-9", "1-1")
    }

    found = read_groups(write_memo("groups", pack_groups(groups)))

    assert found == groups
    assert list(found) == list(groups)
