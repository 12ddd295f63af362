"""Live settings and the operator's groups are one version for all hosts of a cluster."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import jwt
import pytest

from tests.auth.signing import write
from tests.outside.cluster import Cluster, Host
from tests.outside.frames import ALICE, BOB, message_id_of
from tests.outside.processes import REPOSITORY, environment_below
from tests.outside.waiting import poll_for

# Hosts are started one after another, and wait for elections.
pytestmark = [pytest.mark.slow, pytest.mark.ordeal, pytest.mark.timeout(300)]

GROUP = "917069852821-1566557065@g.us"
# A log takes an election of up to 9 s, and the engine of a host that is back needs 17 to follow.
TAKEN_S = 60.0


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(ranges=2, own_files=True) as cluster:
        yield cluster
        for host in cluster:
            request.node.add_report_section("call", f"log of {host.name}", host.log.text())


def typed(host: Host, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "relay", "cluster", *words, "--config", str(host.config)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines(host: Host, event: str) -> list[dict[str, Any]]:
    said = [json.loads(line) for line in host.log.text().splitlines() if line.startswith("{")]
    return [line for line in said if line.get("event") == event]


def told_to_reload(host: Host) -> subprocess.CompletedProcess[str]:
    """Return what `relay reload` says there."""
    return subprocess.run(
        [sys.executable, "-m", "relay", "reload", "--data", str(host.directory / "data")],
        cwd=REPOSITORY,
        env=environment_below(host.directory / "run"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def reload(host: Host) -> None:
    host.process.send_signal(signal.SIGHUP)


def set_nesting(host: Host, nesting: int) -> None:
    """Have its file say so."""
    text = host.config.read_text().partition("\n[limits]\n")[0]
    host.config.write_text(f"{text}\n[limits]\nnesting = {nesting}\n")


def await_taken(host: Host, number: int) -> None:
    poll_for(
        f"settings {number} on {host.name}",
        lambda: any(line["number"] == number for line in lines(host, "accord.taken")),
        deadline_s=TAKEN_S,
    )


def await_shared(host: Host, number: int) -> None:
    poll_for(
        f"settings {number} of {host.name}",
        lambda: any(line["number"] == number for line in lines(host, "accord.shared")),
        deadline_s=TAKEN_S,
    )


def await_refusals(host: Host, count: int) -> str:
    """Return why the last of so many reloads was refused."""
    poll_for(
        f"{count} refusals on {host.name}",
        lambda: len(lines(host, "settings.refused")) >= count,
        deadline_s=TAKEN_S,
    )
    found: str = lines(host, "settings.refused")[-1]["reason"]
    return found


def test_one_host_reloads_and_all_have_it_also_one_that_was_away(cluster: Cluster) -> None:
    a, b, c = cluster
    said = typed(a, "settings")
    assert "each host goes by its own files" in said.stdout
    c.kill()
    set_nesting(a, 8)
    members = {"subject": "S", "participants": [f"{ALICE}@c.us", f"{BOB}@c.us"]}
    a.groups.write_text(json.dumps({GROUP: members}))

    said = told_to_reload(a)

    assert (said.returncode, said.stderr) == (0, "")
    assert "all hosts take it: settings 1" in said.stdout
    await_shared(a, 1)
    await_taken(b, 1)
    poll_for("a look at the files", lambda: bool(lines(b, "accord.files_differ")))
    [differ] = lines(b, "accord.files_differ")
    assert f"limits.nesting: 32 here ({b.config}), 8 in the cluster" in differ["rows"]
    alice, bob = b.login(ALICE), a.login(BOB)
    alice.send_message(GROUP, "M1")
    assert message_id_of(bob.recv()) == "M1"
    deep: Any = "x"
    for _ in range(12):
        deep = [deep]
    alice.recv()  # ack 1
    alice.send(["query", {"id": "1"}, deep])
    alice.expect_error(400)

    c.start()  # with its old file
    await_taken(c, 1)
    c.await_ready()
    poll_for("status", lambda: "settings 1, of a since" in typed(c, "status").stdout)
    said = typed(c, "settings")
    assert said.returncode == 3
    assert "limits.nesting: 32 here" in said.stdout
    said = typed(a, "settings", "--all", "--groups", str(a.groups))
    assert (said.returncode, said.stderr) == (0, "")
    assert "limits.nesting = 8" in said.stdout

    said = told_to_reload(c)  # which brings nothing back
    assert said.returncode == 1
    assert "older than the settings of the cluster (1, of a since" in said.stdout + said.stderr
    set_nesting(c, 9)
    c.groups.write_text(a.groups.read_text())
    reload(c)
    await_shared(c, 2)
    await_taken(a, 2)
    await_taken(b, 2)
    c.stop()
    c.start()
    c.await_ready()
    joined = lines(c, "accord.joined")[-1]
    assert (joined["number"], joined["by"]) == (2, "c")


def test_of_two_reloads_at_once_one_is_told_that_it_was_beaten(cluster: Cluster) -> None:
    a, b, _ = cluster

    def is_settled(host: Host, attempt: int) -> bool:
        return len(lines(host, "accord.shared")) + len(lines(host, "settings.refused")) > attempt

    def are_beaten(attempt: int) -> list[Host]:
        """Have both reload something new; return who was beaten: nobody where one came late."""
        for host, nesting in ((a, 10 + 2 * attempt), (b, 11 + 2 * attempt)):
            set_nesting(host, nesting)
        for host in (a, b):
            reload(host)
        for host in (a, b):
            poll_for("an end", partial(is_settled, host, attempt), deadline_s=TAKEN_S)
        return [host for host in (a, b) if lines(host, "settings.refused")]

    beaten = next(filter(None, map(are_beaten, range(8))), [])

    [loser] = beaten
    winner = b if loser is a else a
    assert f"{winner.name} was faster" in await_refusals(loser, 1)
    origin = lines(winner, "accord.shared")[-1]["number"]
    await_taken(loser, origin)
    reload(loser)
    await_shared(loser, origin + 1)
    await_taken(winner, origin + 1)


def test_without_a_majority_a_reload_is_refused_and_changes_nothing(cluster: Cluster) -> None:
    a, b, c = cluster
    b.kill()
    c.kill()
    set_nesting(a, 8)

    poll_for("no majority to be seen", lambda: "no majority" in typed(a, "status").stderr)
    reload(a)

    assert "sees no majority" in await_refusals(a, 1)
    assert not lines(a, "settings.reloaded")
    b.start()
    b.await_ready()
    poll_for("a majority", lambda: "no majority" not in typed(a, "status").stderr, deadline_s=60)
    reload(a)
    await_shared(a, 1)


def test_a_key_of_tokens_that_one_host_reads_is_that_of_all() -> None:
    cluster = Cluster(ranges=2, own_files=True)
    old, new = b"o" * 40, b"n" * 40
    for host in cluster:
        write(host.directory / "secret", old)
        with host.config.open("a") as file:
            file.write('[auth]\nmode = "token"\n[auth_token]\nleeway_s = 0\n')
            file.write(f'secret_file = "{host.directory / "secret"}"\n')
    with cluster:
        a, _, c = cluster
        assert lets_in(c, old)
        assert not lets_in(c, new)
        write(a.directory / "secret", new)

        reload(a)

        await_shared(a, 1)
        for host in (c, a):
            poll_for("the key to be good", partial(lets_in, host, new), deadline_s=TAKEN_S)
            assert not lets_in(host, old)
        for host in cluster:
            assert new.decode() not in host.log.text()


def lets_in(host: Host, key: bytes) -> bool:
    token = jwt.encode({"sub": ALICE, "exp": time.time() + 600}, key, "HS256")
    client = host.connect()
    client.send(["auth", {"type": "new"}, {"remoteJid": ALICE, "token": token}])
    found: bool = client.recv()[1]["status"] == "success"
    client.drop()
    return found
