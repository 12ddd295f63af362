"""What SIGHUP takes and refuses, and what the children's copies then hold."""

import json
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from relay.disk.groupfile import load_groups
from relay.errors import SettingsError
from relay.settings.commandline import Sources
from relay.settings.tables import Settings
from relay.supervision.reload import GroupChanges, InForce, group_changes

HOST, PORT = "127.0.0.1", 40123


class Place:
    """A settings file, a groups file and a run directory, and the lines of the log."""

    def __init__(self, directory: Path, lines: list[MutableMapping[str, Any]]) -> None:
        self.config = directory / "relay.toml"
        self.groups = directory / "groups.json"
        self.run_dir = directory / "run"
        self.run_dir.mkdir()
        self._lines = lines
        self.config.write_text("")
        self.write_groups(("1-1@g.us", "1@c.us"))

    def load(self, **options: object) -> InForce:
        """Return what holds at the start, before it is published."""
        sources = Sources(self.config, {"server.groups": str(self.groups), **options})
        return InForce(sources, sources.load())

    def published(self, **options: object) -> InForce:
        in_force = self.load(**options)
        in_force.publish(self.run_dir, in_force.load_groups(), host=HOST, port=PORT)
        return in_force

    def write_groups(self, *groups: tuple[str, str]) -> None:
        document = {
            jid: {"subject": "S", "participants": members.split()} for jid, members in groups
        }
        self.groups.write_text(json.dumps(document))

    def copied_settings(self) -> Settings:
        """The settings as a child reads them."""
        return msgspec.json.decode((self.run_dir / "settings.json").read_bytes(), type=Settings)

    def copied_groups(self) -> list[str]:
        return list(load_groups(self.run_dir / "groups.json", max_members=1000))

    def logged(self, event: str) -> MutableMapping[str, Any]:
        """The one line of this event since the last look."""
        [line] = [line for line in self._lines if line["event"] == event]
        self._lines.clear()
        return line


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with capture_logs() as lines:
        yield Place(tmp_path, lines)


def test_the_copies_hold_the_port_that_was_found(place: Place) -> None:
    in_force = place.published(**{"server.port": 0})

    assert place.copied_settings().server.port == PORT
    assert in_force.settings.server.port == PORT
    assert place.copied_groups() == ["1-1"]


def test_a_bad_groups_file_is_refused_at_the_start(place: Place) -> None:
    place.groups.write_text("{")

    with pytest.raises(SettingsError, match=r"groups\.json"):
        place.load().load_groups()


def test_without_a_groups_file_there_are_no_groups(place: Place) -> None:
    place.published(**{"server.groups": ""})

    assert place.copied_groups() == []


def test_other_settings_are_taken_with_the_port_that_was_found(place: Place) -> None:
    in_force = place.published(**{"server.port": 0})
    place.config.write_text("[limits]\nmessage_bytes = 1000\n")

    assert in_force.reload_settings()

    assert in_force.settings.limits.message_bytes == 1000
    assert place.copied_settings() == in_force.settings
    assert in_force.settings.server.port == PORT
    assert place.logged("settings.reloaded")["changed"] == ["limits.message_bytes: 65536 -> 1000"]


def test_a_file_without_a_change_is_not_for_the_children(place: Place) -> None:
    in_force = place.published()
    (place.run_dir / "settings.json").unlink()

    assert not in_force.reload_settings()

    assert place.logged("settings.reloaded")["changed"] == []
    assert not (place.run_dir / "settings.json").exists()


def test_bad_settings_change_nothing(place: Place) -> None:
    in_force = place.published()
    before = in_force.settings
    place.config.write_text("[limits]\nmessage_bytes = 1000\nframes_burst = 0\n")

    assert not in_force.reload_settings()

    assert in_force.settings == place.copied_settings() == before
    assert "limits.frames_burst = 0" in place.logged("settings.refused")["reason"]


def test_settings_that_cannot_be_written_down_do_not_hold(place: Place) -> None:
    in_force = place.published()
    before = in_force.settings
    place.config.write_text("[limits]\nmessage_bytes = 1000\n")
    (place.run_dir / "settings.json.new").mkdir()

    assert not in_force.reload_settings()

    assert in_force.settings == before
    assert "cannot be written" in place.logged("settings.refused")["reason"]


def test_what_needs_a_restart_is_named_and_stays(place: Place) -> None:
    in_force = place.published()
    place.config.write_text('[store]\ndurability = "os"\n')

    assert not in_force.reload_settings()

    assert in_force.settings.store.durability == "fsync"
    assert place.logged("settings.not_applied")["keys"] == ["store.durability"]


def test_without_a_settings_file_nothing_is_reloaded(place: Place) -> None:
    in_force = InForce(Sources(None, {}), Settings())

    assert not in_force.reload_settings()

    assert "--config" in place.logged("settings.not_reloaded")["reason"]


def test_settings_are_taken_before_there_is_a_run_directory(place: Place) -> None:
    in_force = place.load()
    place.config.write_text("[limits]\nmessage_bytes = 1000\n")

    assert in_force.reload_settings()
    assert not in_force.reload_groups()

    assert list(place.run_dir.iterdir()) == []


def test_it_is_logged_which_groups_have_changed(place: Place) -> None:
    place.write_groups(("1-1@g.us", "1@c.us"), ("2-2@g.us", "1@c.us"), ("3-3@g.us", "1@c.us"))
    in_force = place.published()
    place.write_groups(
        ("4-4@g.us", "1@c.us"), ("2-2@g.us", "1@c.us 2@c.us"), ("3-3@g.us", "1@c.us")
    )

    assert in_force.reload_groups()

    line = place.logged("groups.reloaded")
    assert line["path"] == str(place.groups)
    assert (line["groups"], line["added"], line["removed"], line["changed"]) == (3, 1, 1, 1)
    assert line["names"] == ["added 4-4@g.us", "removed 1-1@g.us", "changed 2-2@g.us"]
    assert place.copied_groups() == ["4-4", "2-2", "3-3"]


def test_a_reload_is_compared_with_the_one_before(place: Place) -> None:
    in_force = place.published()
    place.write_groups(("1-1@g.us", "1@c.us 2@c.us"))
    in_force.reload_groups()
    assert place.logged("groups.reloaded")["changed"] == 1

    in_force.reload_groups()

    line = place.logged("groups.reloaded")
    assert (line["groups"], line["changed"], line["names"]) == (1, 0, [])


@pytest.mark.parametrize("breakage", ["bad", "unwritable"])
def test_groups_that_are_refused_leave_the_old_ones(place: Place, breakage: str) -> None:
    in_force = place.published()
    place.groups.write_text("{" if breakage == "bad" else "{}")
    if breakage == "unwritable":
        (place.run_dir / "groups.json.new").mkdir()

    assert not in_force.reload_groups()

    assert place.logged("groups.refused")["kept"] == "the old groups"
    assert place.copied_groups() == ["1-1"]


def test_without_a_groups_file_no_groups_are_reloaded(place: Place) -> None:
    in_force = place.published(**{"server.groups": ""})

    assert not in_force.reload_groups()

    assert "--groups" in place.logged("groups.not_reloaded")["reason"]


def test_changes_are_told_by_jid() -> None:
    changes = group_changes({"1-1": 1, "2-2": 2, "3-3": 3}, {"2-2": 2, "3-3": 4, "5-5": 5})

    assert changes == GroupChanges(["5-5@g.us"], ["1-1@g.us"], ["3-3@g.us"])
