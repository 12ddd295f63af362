"""What an operator types: how a cluster is, drains, moves, a host more and one less."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from relay.admin.bans import Bans
from relay.admin.groupbook import GroupBook
from relay.auth.banned import Ban
from relay.cluster.caller import cluster_of
from relay.cluster.shared import SharedFile
from relay.disk.layout import bans_path, groups_path
from relay.settings.tables import ServerSettings, Settings
from tests.outside.cluster import Cluster
from tests.outside.frames import ALICE, BOB, ack_1, message_id_of
from tests.outside.processes import REPOSITORY
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

# Hosts are started one after another, and ranges go home only when all has been quiet.
pytestmark = [pytest.mark.slow, pytest.mark.ordeal, pytest.mark.timeout(300)]

RANGES = 4
TYPED_S = 120.0
GROUP = b'{"123-456@g.us": {"subject": "s", "participants": ["910000000001@c.us"]}}'


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(ranges=RANGES) as cluster:
        yield cluster
        for host in cluster:
            request.node.add_report_section("call", f"log of {host.name}", host.log.text())


def typed(cluster: Cluster, *arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    """Return what `relay cluster ...` says."""
    return subprocess.run(
        [sys.executable, "-m", "relay", "cluster", *arguments, "--config", str(cluster.config)],
        cwd=REPOSITORY,
        input=answers,
        capture_output=True,
        text=True,
        timeout=TYPED_S,
        check=False,
    )


def removed(cluster: Cluster, name: str, answers: str) -> subprocess.CompletedProcess[str]:
    """Return what a removal says once others have all that the host had."""
    found: list[subprocess.CompletedProcess[str]] = []

    def have_copies() -> bool:
        found.append(typed(cluster, "remove", name, "--to", str(cluster.new), answers=answers))
        return "wait until others have caught up" not in found[-1].stderr

    poll_for("whole copies at others", have_copies, deadline_s=90)
    return found[-1]


def seen(cluster: Cluster) -> dict[str, Any]:
    """Return how the cluster is."""
    said = typed(cluster, "status", "--json")
    assert said.returncode in (0, 3), said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def says(cluster: Cluster, what: str) -> bool:
    """Whether it is told that something is amiss."""
    return what in typed(cluster, "status").stderr


def owners(cluster: Cluster) -> list[str]:
    return [each["owner"] for each in seen(cluster)["status"]["ranges"]]


def await_well(cluster: Cluster) -> None:
    poll_for("all to be well", lambda: typed(cluster, "status").returncode == 0, deadline_s=60)


def test_a_range_is_moved_and_a_host_is_drained_and_let_back(cluster: Cluster) -> None:
    await_well(cluster)
    before = owners(cluster)
    range_, to = 0, next(name for name in "abc" if name != before[0])

    said = typed(cluster, "move", str(range_), to)

    assert said.returncode == 0, said.stderr
    assert f"range 0 is owned by {to}, since record" in said.stdout
    assert "its log took no record for 0." in said.stdout
    assert owners(cluster)[0] == to

    alice = cluster[to].login(ALICE)
    said = typed(cluster, "drain", to)
    assert said.returncode == 0, said.stderr
    assert f"{to} owns nothing" in said.stdout
    assert to not in owners(cluster)
    assert alice.recv()[0] == "Cmd"
    with pytest.raises(ConnectionOver, match="1012"):
        alice.recv()
    await_well(cluster)

    cluster[to].stop()
    cluster[to].start()
    poll_for("it to live", lambda: seen(cluster)["status"]["hosts"][to]["life"] == "living")
    assert seen(cluster)["status"]["hosts"][to]["drained"]
    assert typed(cluster, "drain", to, "--undo").returncode == 0
    cluster[to].await_ready()
    poll_for("its share", lambda: to in owners(cluster), deadline_s=60)


def test_who_is_silent_is_said_and_whom_nobody_owns_and_who_cannot_be_asked(
    cluster: Cluster,
) -> None:
    await_well(cluster)
    assert typed(cluster, "move", "0", "z").returncode == 1
    assert typed(cluster, "drain", "z").returncode == 1

    cluster["c"].kill()

    poll_for("it to be missed", lambda: says(cluster, "amiss: host c is silent"))
    assert typed(cluster, "status").returncode == 3
    cluster["b"].kill()
    poll_for("it to be missed", lambda: says(cluster, "a sees 1 of 3 hosts, no majority"))
    assert typed(cluster, "status").returncode == 3
    cluster["a"].kill()
    said = typed(cluster, "status")
    assert said.returncode == 1
    assert "no host can be reached" in said.stderr


def test_a_lost_host_is_replaced_by_another_one(cluster: Cluster) -> None:
    await_well(cluster)
    alice = cluster["a"].login(ALICE)
    alice.send_message(BOB, "M1")
    alice.expect(ack_1("M1", author=ALICE, to=BOB))
    assert "lives" in typed(cluster, "remove", "c", "--to", str(cluster.new)).stderr
    cluster["c"].kill()
    poll_for("others to own all", lambda: not {"c", ""} & set(owners(cluster)))
    said = typed(cluster, "remove", "c", "--to", str(cluster.new))
    assert said.returncode == 2, "of two hosts neither could tell"
    assert not cluster.new.exists()

    said = typed(cluster, "add", f"d={cluster.address('d')}", "--to", str(cluster.new))
    assert said.returncode == 0, said.stderr
    assert "a new one, of the same authority" in said.stdout
    cluster.take_new("d")
    cluster["d"].start()
    for name in "ab":
        cluster[name].stop()
        cluster[name].start()
        cluster[name].await_ready()
    cluster["d"].await_ready()

    poll_for("d to have a share", lambda: "d" in owners(cluster), deadline_s=90)
    said = removed(cluster, "c", answers="n\n")
    assert said.returncode == 130, said.stderr
    said = removed(cluster, "c", answers="y\nd\n")
    assert said.returncode == 130
    assert not cluster.new.exists()
    said = removed(cluster, "c", answers="y\nc\n")
    assert said.returncode == 0, said.stderr
    cluster.take_new()
    for name in "abd":
        cluster[name].stop()
        cluster[name].start()
        cluster[name].await_ready()
    await_well(cluster)
    bob = cluster["d"].login(BOB)
    assert message_id_of(bob.queued[0]) == "M1"


def test_bans_and_groups_of_one_admin_hold_on_all_hosts(cluster: Cluster) -> None:
    data = cluster["a"].directory / "data"
    settings = cluster_of(cluster.config, "a")
    bob = cluster["b"].login(BOB)
    everything = Settings(server=ServerSettings(data=str(data)), cluster=settings)

    GroupBook(lambda: everything).put(GROUP)
    Bans(data, SharedFile(settings, "bans", data)).add(Ban("919999999999", 1, "test"))

    for name in "bc":
        there = cluster[name].directory / "data"
        poll_for("groups", groups_path(there).exists)
        poll_for("bans", bans_path(there).exists)
        assert groups_path(there).read_bytes() == groups_path(data).read_bytes()
    cluster["c"].kill()  # one that is away has them when it is back
    Bans(data, SharedFile(settings, "bans", data)).add(Ban(BOB, 2, "test"))
    assert bob.recv()[0] == "Cmd"
    with pytest.raises(ConnectionOver, match="4401"):
        bob.recv()
    cluster["c"].start()
    there = bans_path(cluster["c"].directory / "data")
    poll_for("bans", lambda: BOB.encode() in there.read_bytes(), deadline_s=60)
    cluster["c"].await_ready()
    poll_for("groups", lambda: "groups.reloaded" in cluster["b"].log.text())
