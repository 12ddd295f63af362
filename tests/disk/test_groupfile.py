"""The provisioning file: accepted whole, or refused whole with one line that says why."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay.disk import groupfile
from relay.disk.groupfile import Group, load_groups, pack_groups, parse_groups, unpack_groups
from relay.errors import SettingsError
from relay.settings.tables import Settings

EXAMPLE = Path(__file__).parents[2] / "config" / "groups.example.json"
GID = "917069852821-1566557065@g.us"


def group_text(**changes: Any) -> str:
    """Return a file of one good group with `changes`; None leaves a key out."""
    group = {"subject": "Hike", "participants": ["1@c.us", "2@c.us"], "admins": ["1@c.us"]}
    kept = {key: value for key, value in (group | changes).items() if value is not None}
    return json.dumps({GID: kept})


def parse(text: str, *, max_members: int = 257) -> dict[str, Group]:
    raw = text.encode(errors="surrogatepass")
    return parse_groups(raw, place="groups.json", max_members=max_members)


def refusal(text: str, *, max_members: int = 257) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(text, max_members=max_members)
    message = str(caught.value)
    assert message.startswith("groups.json: ")
    assert message.isprintable(), "not one line"
    return message.removeprefix("groups.json: ")


def test_the_example_file_is_accepted() -> None:
    groups = load_groups(EXAMPLE, max_members=Settings().limits.group_members)

    assert groups["917069852821-1566557065"] == Group(
        local="917069852821-1566557065",
        subject="Weekend hike",
        participants=("917069852821", "919428284313", "919354513536"),
        admins=("917069852821",),
    )
    assert len(groups) == 2


def test_jids_may_have_any_accepted_spelling() -> None:
    text = json.dumps(
        {"1-2@G.US": {"subject": "Hike", "participants": ["+1@s.whatsapp.net", "2:7", "3_9@c.us"]}}
    )

    assert parse(text) == {
        "1-2": Group(local="1-2", subject="Hike", participants=("1", "2", "3"), admins=())
    }


def test_a_file_without_groups_is_accepted() -> None:
    assert parse("{}") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON: Expecting value (at line 1, column 1)"),
        ('{\n"a": }', "not JSON: Expecting value (at line 2, column 6)"),
        ("\ud800", "not UTF-8 at byte 0"),
        ("[" * 100_000, "not JSON that is allowed here: "),
        ("1" * 5000, "not JSON that is allowed here: "),
        ("[]", "must be an object of groups by jid, not an array"),
        ("3", "must be an object of groups by jid, not 3"),
    ],
)
def test_what_is_no_json_object_is_refused(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


@pytest.mark.parametrize("jid", ["", "1-2", "1-2@c.us", "1-2@g.us\n", "-1@g.us", "a b@g.us"])
def test_a_bad_group_jid_is_refused(jid: str) -> None:
    said = refusal(json.dumps({jid: {"subject": "x", "participants": ["1"]}}))

    assert said == f'group {json.dumps(jid)}: no group jid, such as "123-456@g.us"'


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subject": None}, "subject is missing; needed are subject and participants"),
        ({"participants": None}, "participants is missing"),
        ({"admin": []}, 'unknown key "admin"; did you mean admins?'),
        ({"a\nb": 1}, 'unknown key "a\\nb"; allowed are subject, participants, admins'),
        ({"subject": ""}, 'subject = "" is not allowed; it must be a string of 1 to 100 char'),
        ({"subject": "x" * 101}, "it must be a string of 1 to 100 characters"),
        ({"subject": "a\nb"}, 'subject = "a\\nb" is not allowed'),
        ({"subject": "\ud800"}, 'subject = "\\ud800" is not allowed'),
        ({"subject": 7}, "subject = 7 is not allowed"),
        ({"participants": "1@c.us"}, 'participants must be an array of user jids, not "1@c.us"'),
        ({"participants": []}, "has 0 participants; allowed are 1 to 257"),
        ({"participants": ["1@g.us"]}, 'participants: "1@g.us" is no user jid, such as "123@c.us"'),
        ({"participants": [7]}, "participants: 7 is no user jid"),
        ({"participants": [["1"]]}, "participants: an array is no user jid"),
        ({"participants": ["1@c.us", "+1"]}, 'participants: "1@c.us" is given twice'),
        ({"admins": ["3@c.us"]}, 'admin "3@c.us" must be a participant too'),
        ({"admins": ["1", "1@c.us"]}, 'admins: "1@c.us" is given twice'),
        ({"admins": {"1": True}}, "admins must be an array of user jids, not an object"),
    ],
)
def test_a_bad_group_is_named_with_what_is_allowed(changes: dict[str, Any], said: str) -> None:
    message = refusal(group_text(**changes))

    assert message.startswith(f'group "{GID}": ')
    assert said in message


def test_a_group_that_is_no_object_is_refused() -> None:
    said = refusal(json.dumps({GID: ["1@c.us"]}))

    assert said.endswith("must be an object with subject, participants, admins, not an array")


def test_a_group_or_key_given_twice_is_refused() -> None:
    one = json.dumps({"subject": "x", "participants": ["1"]})

    assert "given twice" in refusal(f'{{"1-2@g.us": {one}, "1-2@G.us": {one}}}')
    assert "given twice" in refusal(f'{{"1-2@g.us": {one}, "1-2@g.us": {one}}}')
    assert "subject is given twice" in refusal('{"1-2@g.us": {"subject": "x", "subject": "y"}}')


def test_a_group_may_be_as_large_as_the_limit_and_no_larger() -> None:
    text = group_text(participants=["1", "2", "3"])

    assert len(parse(text, max_members=3)) == 1
    assert "has 3 participants; allowed are 1 to 2" in refusal(text, max_members=2)


def test_one_bad_group_refuses_the_whole_file() -> None:
    good = json.loads(group_text())

    assert refusal(json.dumps(good | {"1-2@g.us": {}})).startswith('group "1-2@g.us": ')


def test_subjects_may_be_in_any_script_and_hold_joined_emoji() -> None:
    subject = "Семья \U0001f468\u200d\U0001f469\u200d\U0001f467"

    (group,) = parse(group_text(subject=subject)).values()

    assert group.subject == subject


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.json: cannot read it: No such file"):
        load_groups(tmp_path / "gone.json", max_members=257)
    with pytest.raises(SettingsError, match="cannot read it: Is a directory"):
        load_groups(tmp_path, max_members=257)


@pytest.mark.timeout(10)
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SettingsError, match="fifo: cannot read it: Is a fifo"):
        load_groups(tmp_path / "fifo", max_members=257)


def test_all_mistakes_of_all_groups_are_told_in_their_order() -> None:
    text = json.dumps(
        {
            "x": {},
            "1-2@g.us": {"subject": "", "participants": ["1@c.us", "?", "1@c.us"], "admins": 1},
            "1-2@G.US": {},
            "3-4@g.us": {"subjcet": "Hike", "admins": []},
            "5-6@g.us": {"subject": "Hike", "participants": ["1@c.us"], "admins": ["2@c.us"]},
        }
    )

    with pytest.raises(SettingsError) as caught:
        parse(text)

    assert [line.removeprefix("groups.json: group ") for line in caught.value.problems] == [
        '"x": no group jid, such as "123-456@g.us"',
        '"1-2@g.us": subject = "" is not allowed; it must be a string of 1 to 100 characters'
        " without control characters",
        '"1-2@g.us": participants: "?" is no user jid, such as "123@c.us"',
        '"1-2@g.us": participants: "1@c.us" is given twice; allowed is once',
        '"1-2@g.us": admins must be an array of user jids, not 1',
        '"1-2@G.US": given twice; a group is named once',
        '"3-4@g.us": unknown key "subjcet"; did you mean subject?',
        '"3-4@g.us": subject is missing; needed are subject and participants',
        '"3-4@g.us": participants is missing; needed are subject and participants',
        '"5-6@g.us": admin "2@c.us" must be a participant too',
    ]


def test_a_file_over_the_size_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groupfile, "MAX_FILE_BYTES", 100)
    path = tmp_path / "groups.json"
    path.write_text("{" + " " * 98 + "}")
    assert load_groups(path, max_members=257) == {}

    path.write_text("{" + " " * 99 + "}")

    with pytest.raises(SettingsError, match="larger than 100 bytes"):
        load_groups(path, max_members=257)


few = hypothesis_settings(max_examples=30, deadline=None)
locals_ = st.from_regex(r"[1-9A-Za-z][0-9A-Za-z.-]{0,20}", fullmatch=True)
subjects = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=groupfile.MAX_SUBJECT
)


@st.composite
def any_groups(draw: st.DrawFn) -> dict[str, Group]:
    groups = {}
    for local in draw(st.lists(locals_, unique=True, max_size=3)):
        participants = draw(st.lists(locals_, unique=True, min_size=1, max_size=5))
        admins = draw(st.lists(st.sampled_from(participants), unique=True))
        groups[local] = Group(
            local=local,
            subject=draw(subjects),
            participants=tuple(participants),
            admins=tuple(admins),
        )
    return groups


@few
@given(any_groups())
def test_what_is_packed_is_unpacked_the_same_and_in_order(groups: dict[str, Group]) -> None:
    loaded = unpack_groups(pack_groups(groups))

    assert loaded == groups
    assert list(loaded) == list(groups)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
nearly_groups = st.dictionaries(
    st.sampled_from([GID, "1-2@g.us", "1-2@G.us", "x"]),
    json_values
    | st.fixed_dictionaries(
        {"subject": json_values | st.text(), "participants": st.lists(json_values | locals_)},
        optional={"admins": json_values},
    ),
)


@few
@given((json_values | nearly_groups).map(json.dumps) | st.text())
def test_any_text_is_a_file_or_one_clear_line(text: str) -> None:
    said = "groups.json: "
    try:
        parse(text)
    except SettingsError as error:
        said = str(error)

    assert said.startswith("groups.json: ")
    assert said.isprintable()
