"""The accord of a cluster: how files differ from it, and which of their rows are old."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from relay.disk.accord import (
    Accord,
    Difference,
    Origin,
    Rows,
    accord_path,
    agreed_after,
    agreed_path,
    decode_accord,
    differences,
    given_groups,
    old_ones,
    place_files,
    read_accord,
    read_agreed,
    rows_of,
    shared_files_path,
    write_agreed,
)
from relay.disk.groupfile import Group
from relay.errors import SettingsError

GROUP = Group(local="1-1", subject="S", participants=("1", "2"), admins=("1",))
OTHER = Group(local="1-1", subject="T", participants=("1", "2"), admins=("1",))
ACCORD = Accord(Origin(3, "a", 1_000_000), {"limits.nesting": 8, "a.list": ["x"]}, {"1-1": GROUP})


def rows(says_groups: bool = False, **values: Any) -> Rows:
    return Rows({name.replace("__", "."): value for name, value in values.items()}, says_groups)


def test_an_accord_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_accord(tmp_path) is None
    accord_path(tmp_path).write_bytes(ACCORD.encoded())

    assert read_accord(tmp_path) == ACCORD
    assert decode_accord(ACCORD.encoded()).encoded() == ACCORD.encoded()
    assert str(ACCORD.origin) == "3, of a since 1970-01-01 00:16:40 UTC"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"origin":1,"settings":{}}'])
def test_what_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    accord_path(tmp_path).write_bytes(content)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_accord(tmp_path)


def test_of_files_that_say_the_same_nothing_differs() -> None:
    files = rows_of(ACCORD.settings, ACCORD.groups, {})

    assert differences(files, rows_of(ACCORD.settings, ACCORD.groups, {})) == []


def test_a_setting_and_a_group_that_are_others_differ_and_are_named() -> None:
    files = rows_of({**ACCORD.settings, "limits.nesting": 9}, {"1-1": OTHER, "2-2": GROUP}, {})

    found = differences(files, rows_of(ACCORD.settings, {"1-1": GROUP, "3-3": GROUP}, {}))

    assert [each.words("F") for each in found] == [
        "group 1-1@g.us is another one than in the cluster (F)",
        "group 2-2@g.us is here, and is not in the cluster (F)",
        "group 3-3@g.us is not here, and is in the cluster (F)",
        "limits.nesting: 9 here (F), 8 in the cluster",
    ]


def test_who_names_no_groups_has_no_say_in_them() -> None:
    files = rows_of(ACCORD.settings, None, {})

    assert differences(files, rows_of(ACCORD.settings, ACCORD.groups, {})) == []
    assert differences(
        rows_of(ACCORD.settings, {}, {}), rows_of(ACCORD.settings, ACCORD.groups, {})
    )


def test_a_setting_that_one_of_them_does_not_know_is_no_difference() -> None:
    assert differences(rows(a__x=1, a__new=2), rows(a__x=1, a__gone=3)) == []


def test_a_row_that_says_what_it_did_when_it_last_agreed_is_old() -> None:
    files, accord = rows(a__x=1, a__y=7), rows(a__x=2, a__y=2)

    old = old_ones(differences(files, accord), agreed=rows(a__x=1, a__y=1))

    assert old == [Difference("a.x", 1, 2)]


def test_a_group_that_others_have_made_or_removed_is_old_here() -> None:
    made, removed = rows_of({}, {"1-1": GROUP}, {}), rows_of({}, {}, {})

    assert old_ones(differences(made, removed), agreed=made)
    assert old_ones(differences(removed, made), agreed=removed)
    assert not old_ones(differences(made, removed), agreed=removed), "it is new here"
    assert not old_ones(differences(removed, made), agreed=made), "it was removed here"


def test_a_file_that_was_never_looked_at_says_nothing_new() -> None:
    files, accord = rows(True, a__x=1), rows(True, a__x=2)

    agreed = agreed_after(None, files, accord)

    assert old_ones(differences(files, accord), agreed)


def test_what_agrees_is_noted_and_what_does_not_stays_as_it_was_noted() -> None:
    agreed = agreed_after(rows(a__x=1, a__y=1), rows(a__x=2, a__y=3), rows(a__x=2, a__y=2))

    assert agreed == rows(a__x=2, a__y=1)


def test_a_new_group_is_no_old_one_after_a_look() -> None:
    files, accord = rows_of({}, {"1-1": GROUP, "2-2": GROUP}, {}), rows_of({}, {"1-1": GROUP}, {})

    agreed = agreed_after(rows_of({}, {}, {}), files, accord)

    assert [each.row for each in differences(files, accord)] == ["2-2@g.us"]
    assert not old_ones(differences(files, accord), agreed)


def test_a_setting_that_a_newer_version_brings_says_nothing_new() -> None:
    files, accord = rows(a__new=5), rows(a__new=9)

    agreed = agreed_after(rows(), files, accord)

    assert old_ones(differences(files, accord), agreed)


def test_while_there_is_no_accord_what_files_say_is_nothing_new() -> None:
    assert agreed_after(rows(a__x=1), rows(a__x=2), None) == rows(a__x=2)


def test_who_names_no_groups_any_more_keeps_what_was_noted_of_them() -> None:
    noted = Rows({"1-1@g.us": "m"}, True)

    assert agreed_after(noted, rows(a__x=1), rows(a__x=1)) == Rows(
        {"a.x": 1, "1-1@g.us": "m"}, True
    )


def test_the_groups_of_a_file_that_was_never_named_before_are_nothing_new() -> None:
    files, accord = rows_of({}, {"1-1": GROUP}, {}), rows_of({}, {}, {})

    agreed = agreed_after(rows(), files, accord)

    assert old_ones(differences(files, accord), agreed)


def test_what_was_noted_outlives_a_start_and_damage_is_as_if_nothing_was(tmp_path: Path) -> None:
    assert read_agreed(tmp_path) is None
    write_agreed(tmp_path, rows(True, a__x=[1]))
    assert read_agreed(tmp_path) == rows(True, a__x=[1])
    agreed_path(tmp_path).write_bytes(b"{")
    assert read_agreed(tmp_path) is None


def test_the_groups_of_the_accord_count_before_those_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    path.write_text('{"2-2@g.us": {"subject": "S", "participants": ["1@c.us"]}}')
    silent = Accord(ACCORD.origin, {}, None)

    assert list(given_groups(str(path), ACCORD, max_members=9)) == ["1-1"]
    assert list(given_groups("", ACCORD, max_members=9)) == ["1-1"]
    assert list(given_groups(str(path), silent, max_members=9)) == ["2-2"]
    assert list(given_groups(str(path), None, max_members=9)) == ["2-2"]
    assert not given_groups("", None, max_members=9)


def test_what_files_hold_is_a_row_without_its_content_and_placed_for_who_reads_it(
    tmp_path: Path,
) -> None:
    accord = structs.replace(ACCORD, files={"auth_token.key_files": (b"one", b"two")})
    assert decode_accord(accord.encoded()) == accord
    files = rows_of(ACCORD.settings, ACCORD.groups, {"auth_token.key_files": (b"three",)})

    [found] = differences(files, accord.rows)

    assert found.words("F") == (
        "content of auth_token.key_files is another one than in the cluster (F)"
    )
    assert found.key == "auth_token.key_files"
    assert "one" not in repr(accord)
    placed = place_files(tmp_path, accord.files)["auth_token.key_files"]
    assert [Path(path).read_bytes() for path in placed] == [b"one", b"two"]
    assert place_files(tmp_path, {"auth_token.key_files": (b"two",)}) == {
        "auth_token.key_files": placed[:1]
    }
    assert [Path(path).read_bytes() for path in placed] == [b"two", b"two"], "one is gone"
    assert shared_files_path(tmp_path).stat().st_mode & 0o077 == 0
