"""An extension that the relay does not know: loaded by a setting, carried by everything.

`tests.extensions.guestbook` is one module. Nothing of the relay names it, and yet its requests are
answered, its state is durable and moves with its users, its step judges sends, its settings are
checked and reloaded, and its counters are logged.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.outside.client import SheetClient
from tests.outside.frames import ack_1, check_error
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for
from tests.workers.shard.harness import local_of

from .conftest import RelayStarter

CONFIG = '[server]\nextensions = ["tests.extensions.guestbook"]\n[guestbook]\nmax_guests = 3\n'
ASHA = local_of(0, workers=2, prefix="asha")
BELA = local_of(1, workers=2, prefix="bela")
CHAN = local_of(0, workers=2, prefix="chan")


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    return start_relay(config=CONFIG)


def ask(client: SheetClient, kind: str, owner: str = "", tag: str = "t") -> dict[str, Any]:
    """Return the attributes of the answer to a request of the guestbook."""
    attributes = {"type": kind, "tag": tag} | ({"jid": f"{owner}@c.us"} if owner else {})
    client.send(["guestbook", attributes])
    while (answer := client.recv())[0] != "guestbook":
        assert answer[0] in ("guest", "action"), answer
    assert answer[1].pop("tag") == tag
    return dict(answer[1])


def sign(client: SheetClient, owner: str, *, guests: list[str]) -> None:
    """Sign, and wait until the book has these guests."""
    ask(client, "sign", owner)
    poll_for(f"{guests} in the book", lambda: ask(client, "read", owner)["guests"] == guests)


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.store", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_of_the_relay_names_the_extension() -> None:
    sources = [*REPOSITORY.glob("relay/**/*.py"), *REPOSITORY.glob("workers/**/*.py")]

    assert len(sources) > 100
    for path in sources:
        assert "guestbook" not in path.read_text(), path


def test_its_requests_are_answered_by_both_halves(relay: Relay) -> None:
    asha, bela = relay.login(ASHA), relay.login(BELA)

    sign(asha, BELA, guests=[ASHA])

    assert bela.recv() == ["guest", {"name": ASHA}]
    assert ask(bela, "read", BELA, tag="r1") == {"guests": [ASHA]}
    assert ask(asha, "visits") == {"visits": 2}


def test_its_mistakes_are_answered_as_any_others(relay: Relay) -> None:
    stranger, asha = relay.connect(), relay.login(ASHA)

    stranger.send(["guestbook", {"type": "read", "jid": ASHA, "tag": "s1"}])
    check_error(stranger.recv(), 401, tag="s1")
    asha.send('p1,["guestbook", {"type": "read", "jid": "?"}]')
    assert asha.recv_text().startswith('p1,["error",')


def test_its_capability_is_granted(relay: Relay) -> None:
    asha = relay.connect()

    asha.send(["auth", {"type": "new", "caps": ["guestbook", "acks"]}, {"remoteJid": ASHA}])

    assert asha.recv()[1]["caps"] == ["guestbook"]


def test_its_step_judges_what_is_sent_and_a_repeat_comes_first(relay: Relay) -> None:
    asha, bela, chan = relay.login(ASHA), relay.login(BELA), relay.login(CHAN)
    sign(asha, BELA, guests=[ASHA])
    chan.send_message(BELA, "early")
    chan.expect(ack_1("early", author=CHAN, to=BELA))

    assert ask(bela, "read", BELA)["guests"] == [ASHA]
    bela.drop()
    bela = relay.login(BELA)
    assert ask(bela, "close") == {"closed": True}

    chan.send_message(BELA, "late")
    check_error(chan.recv(), 403, tag="action", message_id="late")
    chan.send_message(BELA, "early")
    chan.expect(ack_1("early", author=CHAN, to=BELA))
    asha.send_message(BELA, "known")
    asha.expect(ack_1("known", author=ASHA, to=BELA))


def test_its_state_outlives_a_kill_of_its_worker(relay: Relay) -> None:
    asha = relay.login(ASHA)
    sign(asha, BELA, guests=[ASHA])

    for child in relay.children("worker"):
        child.process.kill()

    assert ask(asha, "read", BELA)["guests"] == [ASHA]


def test_its_settings_are_checked_and_reloaded(relay: Relay) -> None:
    clients = {user: relay.login(user) for user in (ASHA, BELA, CHAN)}
    relay.config_path.write_text(CONFIG.replace("= 3", "= 1"))
    relay.reload()
    change = "guestbook.max_guests: 3 -> 1"
    poll_for("the other settings", lambda: change in relay.log.text())

    sign(clients[ASHA], BELA, guests=[ASHA])
    sign(clients[CHAN], BELA, guests=[ASHA])

    bad = relay.directory / "bad.toml"
    bad.write_text(CONFIG.replace("= 3", "= 0"))
    checked = subprocess.run(
        [sys.executable, "supervisor.py", "--check-config", "--config", str(bad)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 2
    assert "guestbook.max_guests = 0 is not allowed" in checked.stderr


def test_its_counters_are_logged(relay: Relay) -> None:
    asha = relay.login(ASHA)
    sign(asha, BELA, guests=[ASHA])
    ask(asha, "visits")

    relay.drop_clients()
    relay.stop()

    assert '"guestbook.signed":1' in relay.log.text()
    assert '"guestbook.asked":1' in relay.log.text()


def test_its_trees_move_with_their_owners_and_check_and_backup_carry_them(
    start_relay: RelayStarter, tmp_path: Path
) -> None:
    relay = start_relay(config=CONFIG)
    asha = relay.login(ASHA)
    books = {owner: f"{owner}-book" for owner in (ASHA, BELA, CHAN)}
    for owner in books:
        sign(asha, owner, guests=[ASHA])
    data = relay.directory / "data"

    checked = tool("check", data)
    backed_up = tool("backup", data, tmp_path / "copy")

    assert (checked.returncode, backed_up.returncode) == (0, 0), checked.stdout + backed_up.stdout
    assert "nothing is wrong" in tool("check", tmp_path / "copy").stdout
    relay.drop_clients()
    relay.stop()
    relay._workers = 3
    relay.start()
    asha = relay.login(ASHA)
    for owner in books:
        assert ask(asha, "read", owner)["guests"] == [ASHA]
    assert tool("check", data).returncode == 0


def test_without_it_its_trees_are_kept(start_relay: RelayStarter) -> None:
    relay = start_relay(config=CONFIG)
    sign(relay.login(ASHA), BELA, guests=[ASHA])
    relay.drop_clients()
    relay.stop()

    relay.config_path.write_text("")
    relay.start()
    asha = relay.login(ASHA)
    asha.send(["guestbook", {"type": "read", "jid": BELA}])
    check_error(asha.recv(), 400, tag="guestbook")
    relay.drop_clients()
    relay.stop()
    assert tool("check", relay.directory / "data").returncode == 0

    relay.config_path.write_text(CONFIG)
    relay.start()
    assert ask(relay.login(ASHA), "read", BELA)["guests"] == [ASHA]


def test_a_check_of_the_settings_finds_what_a_start_finds(tmp_path: Path) -> None:
    """An extension beside the settings, where only the caller's directory leads to it."""
    module = (REPOSITORY / "tests" / "extensions" / "guestbook.py").read_text()
    (tmp_path / "my_guestbook.py").write_text(module)
    config = tmp_path / "relay.toml"
    config.write_text('[server]\nextensions = ["my_guestbook"]\n')
    command = [sys.executable, "-m", "relay", "serve", "--config", "relay.toml", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": f".{os.pathsep}{REPOSITORY}"}

    checked = subprocess.run(
        [*command, "--check-config"], cwd=tmp_path, env=environment, check=False
    )
    with subprocess.Popen(
        [*command, "--data", "data", "--workers", "1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as relay:
        assert relay.stdout is not None
        line = relay.stdout.readline()
        relay.send_signal(signal.SIGTERM)

    assert checked.returncode == 0
    assert line.startswith("ready ws://127.0.0.1:")
    assert relay.returncode == 0


@pytest.mark.parametrize("before_login", [True, False])
def test_e2_an_unknown_request_gets_its_name_back(relay: Relay, before_login: bool) -> None:
    client = relay.connect() if before_login else relay.login(ASHA)
    code = 401 if before_login else 400

    for text, named in (
        ('["query",{"type":"nothing","tag":"u1"},null]', "u1"),
        ('["guestbook",{"type":"burn","tag":"u2"}]', "u2"),
        ('["teleport",{"tag":7}]', "teleport"),
    ):
        client.send(text)
        check_error(client.recv(), code, tag=named)
    client.send('p1,["query",{"type":"group","tag":"u3"}]')
    prefix, _, frame = client.recv_text().partition(",")
    assert prefix == "p1"
    check_error(json.loads(frame), code, tag="u3")
