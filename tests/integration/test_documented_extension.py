"""The extensions of docs/extensions.md, run as they are printed there."""

from pathlib import Path
from typing import Any

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import ABSENT, ALICE, BOB, CAROL, check_error, user_jid
from tests.outside.relay import Relay

from ..documents import only_block, read
from .conftest import RelayStarter

EXTENSION = only_block(read("docs/extensions.md"), "python", containing="EXTENSION: Final")
SETTINGS = only_block(read("docs/extensions.md"), "toml", containing="drafts")
NUDGES = only_block(read("docs/extensions.md"), "python", containing="EXTENSION = Extension(")


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_relay: RelayStarter) -> Relay:
    """A relay that has loaded it, with the settings that are printed there."""
    (tmp_path / "drafts.py").write_text(EXTENSION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return start_relay(config=SETTINGS)


def put(client: SheetClient, to: str, text: str) -> Any:
    client.send(["draft", {"type": "put", "to": user_jid(to), "text": text, "tag": "d1"}])
    return client.recv()


def get(client: SheetClient, to: str) -> Any:
    client.send(["draft", {"type": "get", "to": user_jid(to), "tag": "d2"}])
    tag, attributes = client.recv()
    assert (tag, attributes["tag"], attributes["status"]) == ("response", "d2", 200)
    return attributes["text"]


def test_a_draft_is_kept_for_each_user_and_peer_and_survives_the_relay(relay: Relay) -> None:
    alice, bob = relay.login(ALICE), relay.login(BOB)

    kept = put(alice, BOB, "dear")

    assert kept == ["response", {"from": "backend", "type": "draft", "status": 200, "tag": "d1"}]
    assert (get(alice, BOB), get(alice, CAROL), get(bob, BOB)) == ("dear", "", "")
    relay.kill_everything()
    relay.start()
    alice = relay.login(ALICE)
    assert get(alice, BOB) == "dear"
    put(alice, BOB, "")
    assert get(alice, BOB) == ""


def test_a_draft_that_cannot_be_kept_is_refused_under_the_name_of_its_request(
    relay: Relay,
) -> None:
    alice = relay.login(ALICE)

    check_error(put(alice, BOB, "x" * 2049), 413, tag="d1", message_id=ABSENT)
    check_error(put(alice, "no one", "hi"), 400, tag="d1", message_id=ABSENT)
    for frame in (["draft"], ["draft", "put"], ["draft", {"type": "put"}]):
        alice.send(frame)
        alice.expect_error(400)
    assert get(alice, BOB) == ""
    alice.send(["draft", {"type": "burn"}])
    alice.expect_error(400)


def test_a_user_has_as_many_drafts_as_its_table_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_relay: RelayStarter
) -> None:
    (tmp_path / "drafts.py").write_text(EXTENSION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    relay = start_relay(config=f"{SETTINGS}max_drafts = 1\n")
    alice = relay.login(ALICE)

    assert put(alice, BOB, "dear")[1]["status"] == 200
    check_error(put(alice, CAROL, "dear"), 413, tag="d1", message_id=ABSENT)
    assert put(alice, BOB, "dearest")[1]["status"] == 200
    put(alice, BOB, "")
    assert put(alice, CAROL, "dear")[1]["status"] == 200


def test_a_nudge_is_shown_to_a_peer_whose_session_was_granted_the_capability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start_relay: RelayStarter
) -> None:
    (tmp_path / "nudges.py").write_text(NUDGES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    relay = start_relay(config='[server]\nextensions = ["nudges"]\n')
    alice, bob, carol = relay.login(ALICE), relay.connect(), relay.login(CAROL)
    bob.send(["auth", {"type": "new", "caps": ["nudge"]}, {"remoteJid": user_jid(BOB)}])
    assert bob.recv()[1]["caps"] == ["nudge"]
    assert bob.recv()[0] == "q"

    assert [nudge(alice, peer) for peer in (BOB, CAROL, "nobody")] == [True, True, False]

    assert bob.recv() == ["nudge", {"from": f"{ALICE}@c.us"}]
    alice.send_message(CAROL, "M")  # who was granted nothing gets nothing but this
    assert carol.recv()[0] == "action"
    alice.recv()
    alice.send(["nudge", {"type": "send"}])
    alice.expect_error(400)


def nudge(client: SheetClient, to: str) -> Any:
    client.send(["nudge", {"type": "send", "to": user_jid(to), "tag": "n1"}])
    tag, attributes = client.recv()
    assert (tag, attributes["tag"], attributes["status"]) == ("response", "n1", 200)
    return attributes["online"]
