"""What SIGHUP takes and refuses, and what the children's copies then hold."""

import errno
import json
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from relay.disk.layout import groups_path
from relay.errors import SettingsError
from relay.process.place import read_groups, read_settings
from relay.settings.commandline import Sources
from relay.settings.tables import Settings
from relay.supervision.reload import GroupChanges, InForce, group_changes

HOST, PORT = "127.0.0.1", 40123


class Place:
    """A settings file and a groups file, and the lines of the log."""

    def __init__(self, directory: Path, lines: list[MutableMapping[str, Any]]) -> None:
        self.config = directory / "relay.toml"
        self.groups = directory / "groups.json"
        self._lines = lines
        self.config.write_text("")
        self.write_groups(("1-1@g.us", "1@c.us"))

    def load(self, **options: object) -> InForce:
        """Return what holds at the start, before anything was found."""
        sources = Sources(self.config, {"server.groups": str(self.groups), **options})
        return InForce(sources, sources.load())

    def started(self, **options: object) -> InForce:
        in_force = self.load(**options)
        in_force.load_groups()
        in_force.found(HOST, PORT)
        return in_force

    def write_groups(self, *groups: tuple[str, str]) -> None:
        document = {
            jid: {"subject": "S", "participants": members.split()} for jid, members in groups
        }
        self.groups.write_text(json.dumps(document))

    def logged_nothing(self) -> bool:
        """Whether there was no line since the last look."""
        return not self._lines

    def logged(self, event: str) -> MutableMapping[str, Any]:
        """The one line of this event since the last look."""
        [line] = [line for line in self._lines if line["event"] == event]
        self._lines.clear()
        return line


def copied_settings(in_force: InForce) -> Settings:
    """The settings as a child reads them."""
    return read_settings(in_force.write_settings_memo())


def copied_groups(in_force: InForce) -> list[str]:
    """The groups as a child reads them."""
    assert in_force.groups_memo is not None
    return list(read_groups(os.dup(in_force.groups_memo)))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with capture_logs() as lines:
        yield Place(tmp_path, lines)


def test_the_copies_hold_the_port_that_was_found(place: Place) -> None:
    in_force = place.started(**{"server.port": 0})

    assert copied_settings(in_force).server.port == PORT
    assert in_force.settings.server.port == PORT
    assert copied_groups(in_force) == ["1-1"]


def test_a_bad_groups_file_is_refused_at_the_start(place: Place) -> None:
    place.groups.write_text("{")

    with pytest.raises(SettingsError, match=r"groups\.json"):
        place.load().load_groups()


def test_without_a_groups_file_there_are_no_groups(place: Place) -> None:
    in_force = place.started(**{"server.groups": ""})

    assert copied_groups(in_force) == []


def test_other_settings_are_taken_with_the_port_that_was_found(place: Place) -> None:
    in_force = place.started(**{"server.port": 0})
    place.config.write_text("[limits]\nmessage_bytes = 1000\n")

    assert in_force.reload_settings()

    assert in_force.settings.limits.message_bytes == 1000
    assert copied_settings(in_force) == in_force.settings
    assert in_force.settings.server.port == PORT
    assert place.logged("settings.reloaded")["changed"] == ["limits.message_bytes: 65536 -> 1000"]


def test_a_file_without_a_change_is_not_for_the_children(place: Place) -> None:
    in_force = place.started()

    assert not in_force.reload_settings()

    assert place.logged("settings.reloaded")["changed"] == []


def test_bad_settings_change_nothing(place: Place) -> None:
    in_force = place.started()
    before = in_force.settings
    place.config.write_text("[limits]\nmessage_bytes = 1000\nframes_burst = 0\n")

    assert not in_force.reload_settings()

    assert in_force.settings == copied_settings(in_force) == before
    assert "limits.frames_burst = 0" in place.logged("settings.refused")["reason"]


def test_what_needs_a_restart_is_named_and_stays(place: Place) -> None:
    in_force = place.started()
    place.config.write_text('[store]\ndurability = "os"\n')

    assert not in_force.reload_settings()

    assert in_force.settings.store.durability == "fsync"
    assert place.logged("settings.not_applied")["keys"] == ["store.durability"]


def test_without_a_settings_file_nothing_is_reloaded(place: Place) -> None:
    in_force = InForce(Sources(None, {}), Settings())

    assert not in_force.reload_settings()

    assert "--config" in place.logged("settings.not_reloaded")["reason"]


def test_settings_are_taken_before_the_groups_were_read(place: Place) -> None:
    in_force = place.load()
    place.config.write_text("[limits]\nmessage_bytes = 1000\n")

    assert in_force.reload_settings()
    assert not in_force.reload_groups()

    assert in_force.groups_memo is None


def test_it_is_logged_which_groups_have_changed(place: Place) -> None:
    place.write_groups(("1-1@g.us", "1@c.us"), ("2-2@g.us", "1@c.us"), ("3-3@g.us", "1@c.us"))
    in_force = place.started()
    place.write_groups(
        ("4-4@g.us", "1@c.us"), ("2-2@g.us", "1@c.us 2@c.us"), ("3-3@g.us", "1@c.us")
    )

    assert in_force.reload_groups()

    line = place.logged("groups.reloaded")
    assert line["path"] == str(place.groups)
    assert (line["groups"], line["added"], line["removed"], line["changed"]) == (3, 1, 1, 1)
    assert line["names"] == ["added 4-4@g.us", "removed 1-1@g.us", "changed 2-2@g.us"]
    assert copied_groups(in_force) == ["4-4", "2-2", "3-3"]


def test_a_reload_is_compared_with_the_one_before(place: Place) -> None:
    in_force = place.started()
    place.write_groups(("1-1@g.us", "1@c.us 2@c.us"))
    assert in_force.reload_groups()
    assert place.logged("groups.reloaded")["changed"] == 1
    memo = in_force.groups_memo

    assert not in_force.reload_groups()  # the children need not be told
    assert in_force.groups_memo == memo

    line = place.logged("groups.reloaded")
    assert (line["groups"], line["changed"], line["names"]) == (1, 0, [])


@pytest.mark.parametrize("breakage", ["bad", "unwritable"])
def test_groups_that_are_refused_leave_the_old_ones(
    place: Place, breakage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_force = place.started()
    place.groups.write_text("{" if breakage == "bad" else "{}")
    if breakage == "unwritable":

        def full(*_: object) -> int:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        monkeypatch.setattr(os, "memfd_create", full)

    assert not in_force.reload_groups()

    assert place.logged("groups.refused")["kept"] == "the old groups"
    assert copied_groups(in_force) == ["1-1"]


def test_the_groups_of_a_predecessor_are_gone_on_from(place: Place) -> None:
    before = place.started()
    assert before.groups_memo is not None
    successor = place.load()
    successor.take_over(os.dup(before.groups_memo))

    assert not successor.reload_groups()  # nothing has changed

    place.write_groups(("1-1@g.us", "1@c.us 2@c.us"))
    assert successor.reload_groups()
    assert copied_groups(successor) == ["1-1"]


@pytest.mark.parametrize("has_settings", [True, False])
def test_without_a_groups_file_no_groups_are_reloaded_and_it_is_said_where_there_is_no_file_at_all(
    place: Place, has_settings: bool
) -> None:
    in_force = place.started(**{"server.groups": ""})
    if not has_settings:
        in_force = InForce(Sources(None, {}), Settings())
        in_force.load_groups()

    assert not in_force.reload_groups()

    if has_settings:
        assert place.logged_nothing()
    else:
        assert "--groups" in place.logged("groups.not_reloaded")["reason"]


def test_changes_are_told_by_jid() -> None:
    changes = group_changes({"1-1": 1, "2-2": 2, "3-3": 3}, {"2-2": 2, "3-3": 4, "5-5": 5})

    assert changes == GroupChanges(["5-5@g.us"], ["1-1@g.us"], ["3-3@g.us"])


def test_groups_of_the_admin_hold_beside_those_of_the_file_which_count(
    place: Place, tmp_path: Path
) -> None:
    made = {
        jid: {"subject": "Made", "participants": ["2@c.us"]} for jid in ("1-1@g.us", "2-2@g.us")
    }
    in_force = place.started(**{"server.data": str(tmp_path)})
    assert copied_groups(in_force) == ["1-1"]

    groups_path(tmp_path).write_text(json.dumps(made))
    assert in_force.reload_groups()

    assert in_force.groups_memo is not None
    groups = read_groups(os.dup(in_force.groups_memo))
    assert {local: group.subject for local, group in groups.items()} == {"1-1": "S", "2-2": "Made"}
    assert place.started(**{"server.data": str(tmp_path)}).take_report().refusals == []


def test_groups_of_the_admin_hold_without_a_groups_file(place: Place, tmp_path: Path) -> None:
    in_force = place.started(**{"server.data": str(tmp_path), "server.groups": ""})
    groups_path(tmp_path).write_text('{"2-2@g.us": {"subject": "S", "participants": ["2@c.us"]}}')

    assert in_force.reload_groups()

    assert copied_groups(in_force) == ["2-2"]
