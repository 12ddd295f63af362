"""Operators make and change groups while the relay runs, for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.outside.frames import ALICE, BOB, CAROL, GROUP
from tests.outside.operator import Operator
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command

MADE = "20-30@g.us"
HIKE = {"subject": "Hike", "participants": [f"{ALICE}@c.us", f"{BOB}@c.us"], "admins": []}


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    relay = start_relay(admin=True, groups={GROUP: [ALICE, BOB, CAROL]})
    Operator(relay).ask("/api/v1/status")
    return relay


def reach(relay: Relay, group: str, message: str, *members: str) -> None:
    """A message of the first member reaches the others."""
    author, *readers = relay.logged_in(*members)
    author.send_message(group, message)
    author.recv()
    for reader in readers:
        assert message in str(reader.recv())
    relay.drop_clients()


def test_a_group_that_is_made_delivers_at_once_and_after_a_crash(relay: Relay) -> None:
    done = Operator(relay).ask(f"/api/v1/groups/{MADE}", method="PUT", body=HIKE)

    assert (done.status, done.json["operation"]["state"]) == (200, "done")
    reach(relay, MADE, "G1", ALICE, BOB)
    relay.kill_everything()
    relay._workers = 3
    relay.start()
    reach(relay, MADE, "G2", ALICE, BOB)
    again = Operator(relay).ask(f"/api/v1/groups/{MADE}", method="PUT", body=HIKE)
    assert (again.status, again.json["operation"]["state"]) == (200, "done")


def test_what_the_groups_file_names_is_changed_there_alone(relay: Relay) -> None:
    operator = Operator(relay)
    path = f"/api/v1/groups/{GROUP}"

    assert operator.ask(path, method="PUT", body=HIKE).status == 409
    assert operator.ask(path, method="DELETE").status == 409
    found = operator.ask(path).json
    assert (found["source"], len(found["participants"])) == ("file", 3)

    assert operator.ask(f"/api/v1/groups/{MADE}", method="PUT", body=HIKE).status == 200
    relay.write_groups({MADE: [CAROL]})
    relay.reload()
    found = operator.ask(f"/api/v1/groups/{MADE}").json
    assert (found["source"], found["participants"]) == ("file", [f"{CAROL}@c.us"])


def test_groups_are_listed_in_pages_and_deleted(relay: Relay) -> None:
    operator = Operator(relay)
    many = {f"9-{n}@g.us": HIKE for n in range(3)}
    assert operator.ask("/api/v1/groups-file", method="PUT", body=many).json["groups"] == 3

    found, cursor = [], ""
    while True:
        page = operator.ask(f"/api/v1/groups?limit=2&prefix=9-&cursor={cursor}").json
        assert len(page["groups"]) <= 2
        found += [each["jid"] for each in page["groups"]]
        cursor = page["next"]
        if not cursor:
            break
    assert found == sorted(many)

    for was_there in (True, False):
        gone = operator.ask("/api/v1/groups/9-1@g.us", method="DELETE")
        assert (gone.status, gone.json["was_there"]) == (200, was_there)
    assert operator.ask("/api/v1/groups/9-1@g.us").status == 404
    exported = operator.ask("/api/v1/groups-file").json
    assert set(exported) == {GROUP, "9-0@g.us", "9-2@g.us"}
    assert exported["9-0@g.us"] == HIKE


@pytest.mark.parametrize(
    "body",
    [
        {"subject": "", "participants": [f"{ALICE}@c.us"]},
        {"subject": "S", "participants": []},
        {"subject": "S", "participants": ["no jid at all"]},
        {"subject": "S", "participants": [f"{ALICE}@c.us"], "admins": [f"{BOB}@c.us"]},
        {"subject": "S"},
    ],
)
def test_what_is_no_group_is_refused_and_nothing_is_stored(relay: Relay, body: object) -> None:
    operator = Operator(relay)

    assert operator.ask(f"/api/v1/groups/{MADE}", method="PUT", body=body).status == 400
    both = {"9-9@g.us": HIKE, MADE: body}
    assert operator.ask("/api/v1/groups-file", method="PUT", body=both).status == 400
    assert operator.ask("/api/v1/groups/no", method="PUT", body=HIKE).status == 400
    assert [each["jid"] for each in operator.ask("/api/v1/groups").json["groups"]] == [GROUP]


def test_the_commands_make_change_and_carry_groups(relay: Relay, tmp_path: Path) -> None:
    made = command(relay, "groups", "set", MADE, "--subject", "Hike", "--member", ALICE)
    assert (made.returncode, made.stdout) == (0, f"{MADE}: 1 members\n")
    assert command(relay, "groups", "add", MADE, BOB).stdout == f"{MADE}: 2 members\n"
    reach(relay, MADE, "C1", ALICE, BOB)
    assert command(relay, "groups", "remove", MADE, BOB).stdout == f"{MADE}: 1 members\n"
    shown = command(relay, "groups", "show", MADE).stdout
    assert ALICE in shown
    assert BOB not in shown
    assert MADE in command(relay, "groups", "list").stdout

    exported = json.loads(command(relay, "groups", "export").stdout)
    file = tmp_path / "groups.json"
    file.write_text(json.dumps({"5-5@g.us": exported[MADE]}))
    assert command(relay, "groups", "import", str(file)).stdout == "1 groups are stored\n"
    assert command(relay, "groups", "delete", "5-5@g.us").stdout == "5-5@g.us: deleted\n"
    refused = command(relay, "groups", "delete", GROUP)
    assert refused.returncode == 1
    assert "edit it, then `relay reload`" in refused.stderr


def test_each_change_is_logged_once_with_who(relay: Relay) -> None:
    Operator(relay).ask(f"/api/v1/groups/{MADE}", method="PUT", body=HIKE)
    Operator(relay).ask(f"/api/v1/groups/{MADE}", method="DELETE")

    # A log that nobody reads is not waited for: a line may come a moment later.
    poll_for("both lines", lambda: len(relay.log.events("admin.acted")) >= 2)
    lines = relay.log.events("admin.acted")
    assert [(line["action"], line["by"]) for line in lines] == [
        ("put groups", "socket"),
        ("delete group", "socket"),
    ]
