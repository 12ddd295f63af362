"""The same data with another number of workers, and the operator's tools on a relay that runs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outside.client import exchange_marker
from tests.outside.frames import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    GROUP,
    SENT_AT,
    Frame,
    ack_1,
    delivery,
    group_delivery,
    group_receipt,
    message_id_of,
    queued_in,
    receipt,
)
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter

pytestmark = pytest.mark.ordeal

MEMBERS = [ALICE, BOB, CAROL, EVE]
# Of each kind, while a tool works: twice as many wait for one member, less than an author may have.
MOST_SENT = 1000


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.store", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def data_of(relay: Relay) -> Path:
    return relay.directory / "data"


def start_with(relay: Relay, workers: int) -> None:
    relay._workers = workers
    relay.start()


def queue_for_all(relay: Relay) -> dict[str, list[Frame]]:
    """Have messages wait for users who are away or do not ack; return what each has to get."""
    waiting: dict[str, list[Frame]] = {user: [] for user in MEMBERS}
    for author in (ALICE, BOB):
        client = relay.login(author)
        for number in range(20):
            one, many = f"ONE-{author}-{number}", f"MANY-{author}-{number}"
            client.send_message(CAROL, one)
            client.send_message(GROUP, many)
            client.expect(ack_1(one, author=author, to=CAROL), ack_1(many, author=author, to=GROUP))
            waiting[CAROL].append(delivery(one, author=author))
            for member in MEMBERS:
                if member != author:
                    waiting[member].append(group_delivery(many, author=author))
        client.drop()
    return waiting


def assert_queued(relay: Relay, waiting: dict[str, list[Frame]]) -> None:
    """Everyone gets everything, once and in order."""
    orders = []
    for user, expected in waiting.items():
        client = relay.login(user)
        queued = client.queued
        assert sorted(map(message_id_of, queued)) == sorted(map(message_id_of, expected))
        assert all(frame in expected for frame in queued)
        orders.append([message_id_of(f) for f in queued if message_id_of(f).startswith("MANY")])
        for author in (ALICE, BOB):
            for kind in ("ONE", "MANY"):
                prefix = f"{kind}-{author}-"
                came = [message_id_of(f) for f in queued if message_id_of(f).startswith(prefix)]
                assert came == [f"{prefix}{number}" for number in range(len(came))]
        client.drop()
    assert orders[2] == orders[3], "two who wrote nothing see one order"


def gather(relay: Relay, user: str, count: int) -> list[str]:
    """Log in and return the ids of the first `count` messages at least, queued or live."""
    client = relay.login(user)
    ids = list(map(message_id_of, client.queued))
    while len(ids) < count:
        frame = client.recv()
        ids += map(message_id_of, queued_in(frame) if frame[0] == "q" else [frame])
    client.drop()
    return ids


def test_messages_wait_in_order_and_repeats_are_known_with_another_number_of_workers(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=2, groups={GROUP: MEMBERS})
    waiting = queue_for_all(relay)
    relay.stop()

    start_with(relay, 3)

    assert_queued(relay, waiting)
    assert json.loads((data_of(relay) / "meta.json").read_bytes())["workers"] == 3
    assert [path.name for path in data_of(relay).glob("gen-*")] == ["gen-2"]
    # A resend is acked again and delivered to no one, another message is refused.
    alice, carol = relay.logged_in(ALICE, CAROL)
    first = f"ONE-{ALICE}-0"
    alice.send_message(CAROL, first, t=str(SENT_AT + 9))
    alice.send_message(GROUP, f"MANY-{ALICE}-0", t=str(SENT_AT + 9))
    alice.expect(
        ack_1(first, author=ALICE, to=CAROL), ack_1(f"MANY-{ALICE}-0", author=ALICE, to=GROUP)
    )
    alice.send_message(CAROL, first, {"conversation": "other"})
    alice.expect_error(409, message_id=first)
    exchange_marker(alice, carol)
    # Acks find their message.
    carol.ack(delivery(first, author=ALICE))
    alice.expect(receipt(first, 2, author=ALICE, by=CAROL, t=SENT_AT))
    carol.ack(group_delivery(f"MANY-{ALICE}-0", author=ALICE), 3)
    alice.expect(group_receipt(f"MANY-{ALICE}-0", 3, author=ALICE, by=CAROL, t=SENT_AT))
    relay.drop_clients()
    relay.stop()
    assert tool("check", data_of(relay)).returncode == 0


def test_what_killed_workers_had_not_yet_told_each_other_arrives_all_the_same(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(workers=2, groups={GROUP: MEMBERS})
    waiting = queue_for_all(relay)
    alice = relay.login(ALICE)
    for number in range(20, 60):
        alice.send_message(GROUP, f"MANY-{ALICE}-{number}")
    acked = [message_id_of(frame) for frame in alice.recv_many(5)]
    relay.kill_everything()

    start_with(relay, 1)

    for user in MEMBERS:
        queued = list(map(message_id_of, relay.login(user).queued))
        assert set(map(message_id_of, waiting[user])) <= set(queued)
        assert len(queued) == len(set(queued))
        if user != ALICE:
            assert set(acked) <= set(queued)
    relay.drop_clients()
    relay.stop()
    assert tool("check", data_of(relay)).returncode == 0


def test_the_tools_work_on_a_relay_under_load(start_relay: RelayStarter, tmp_path: Path) -> None:
    relay = start_relay(workers=2, groups={GROUP: MEMBERS})
    alice = relay.login(ALICE)
    sent = 0

    def send(count: int) -> None:
        nonlocal sent
        for _ in range(count):
            alice.send_message(GROUP, f"M{sent:05}")
            alice.send_message(BOB, f"N{sent:05}")
            sent += 1

    send(100)
    alice.recv_many(200)
    acked = sent
    copies = []
    for number in range(2):
        copy = tmp_path / f"copy-{number}"
        with subprocess.Popen(
            [sys.executable, "-m", "workers.store", "backup", str(data_of(relay)), str(copy)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        ) as backup:

            def goes_on(backup: "subprocess.Popen[str]" = backup) -> bool:
                if sent < MOST_SENT:
                    send(20)
                    assert {frame[0] for frame in alice.recv_many(40)} <= {"Msg", "MsgInfo"}
                return backup.poll() is not None

            poll_for("the end of the backup", goes_on)
        assert backup.returncode == 0
        copies.append((copy, acked))
        acked = sent
    assert sent > 200
    checked = tool("check", data_of(relay), "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["stores"] == 2
    relay.drop_clients()
    relay.stop()

    for copy, least in copies:
        shutil.rmtree(data_of(relay))
        shutil.move(copy, data_of(relay))
        relay.start()
        for member in (BOB, CAROL, EVE):
            expected = least * (2 if member == BOB else 1)
            ids = gather(relay, member, expected)
            for kind in "MN":
                came = [each for each in ids if each.startswith(kind)]
                assert came == [f"{kind}{number:05}" for number in range(len(came))]
        relay.stop()
