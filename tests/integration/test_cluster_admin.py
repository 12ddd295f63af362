"""Operators of three hosts that are one relay: whichever admin is asked, it is of all users."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from relay.protocol.slots import ShardMap
from tests.outside import chromium
from tests.outside.chromium import Page
from tests.outside.cluster import Cluster
from tests.outside.frames import ALICE, BOB, CAROL, ack_1, user_jid
from tests.outside.operator import Answer, Operator, console_of
from tests.outside.processes import REPOSITORY
from tests.outside.waiting import poll_for
from tests.outside.websocket import ConnectionOver

pytestmark = [pytest.mark.slow, pytest.mark.ordeal, pytest.mark.timeout(300)]

RANGES = 4
# Whoever is asked here shares two cores with three engines.
ADMIN = '\n[admin]\njid = "operator"\nask_within_s = 5.0\n'
TYPED_S = 60.0
PROGRAM = chromium.executable()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(ranges=RANGES, config=ADMIN, admin=True) as cluster:
        poll_for("all to be quiet", lambda: all(is_quiet(cluster, n) for n in "abc"), deadline_s=90)
        yield cluster


@pytest.fixture(autouse=True)
def _logs(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for host in cluster:
        request.node.add_report_section("call", f"log of {host.name}", host.log.text())
        host.drop_clients()


def ask(cluster: Cluster, name: str, path: str, **how: Any) -> Answer:
    return Operator(cluster[name]).ask(f"/api/v1/{path}", **how)


def told(cluster: Cluster, name: str, path: str, **how: Any) -> Any:
    """Return what a host's admin says, which must be all of it."""
    answer = ask(cluster, name, path, **how)
    assert answer.status == 200, answer.body
    assert answer.json.get("not_asked", []) == [], answer.json
    return answer.json


def is_quiet(cluster: Cluster, name: str) -> bool:
    """Whether a host's admin reaches all others, and ranges stay where they are."""
    answer = ask(cluster, name, "cluster")
    if answer.status != 200 or ask(cluster, name, "users").json["not_asked"]:
        return False
    found = answer.json
    share = all(each["owns"] for each in found["hosts"])
    return bool(share and not found["amiss"] and found["moving"] is None)


def done(cluster: Cluster, name: str, operation: Any) -> Any:
    """Return an operation that has ended well."""

    def has_ended() -> bool:
        nonlocal operation
        operation = told(cluster, name, f"operations/{operation['id']}")
        return bool(operation["state"] != "running")

    if operation["state"] == "running":
        poll_for("the end of it", has_ended, deadline_s=40)
    assert operation["state"] == "done", operation
    return operation


def typed(cluster: Cluster, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Return what `relay ...` says on a host."""
    return subprocess.run(
        [sys.executable, "-m", "relay", *words, "--data", str(cluster[name].directory / "data")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=TYPED_S,
        check=False,
    )


def user_of(range_: int, number: int = 0) -> str:
    """Return a user of a range, another one for each number."""
    shards = ShardMap(RANGES)
    numbers = (f"91900000{each:04}" for each in range(10_000))
    found = [each for each in numbers if shards.owner_of(each) == range_]
    return found[number]


def queued(cluster: Cluster, host: str, user: str, *ids: str) -> None:
    """Have messages wait for a user, which come in at a host."""
    author = cluster[host].login(CAROL)
    for each in ids:
        author.send_message(user, each)
        author.expect(ack_1(each, author=CAROL, to=user))


def test_a_user_is_found_wherever_it_is_connected_and_whoever_is_asked(cluster: Cluster) -> None:
    cluster["b"].login(ALICE)
    cluster["c"].login(BOB)

    for name in "abc":
        found = told(cluster, name, "users")["users"]
        assert {(each["jid"], each["host"]) for each in found} == {
            (user_jid(ALICE), "b"),
            (user_jid(BOB), "c"),
        }
        page, cursor = [], ""
        while True:
            said = told(cluster, name, f"users?limit=1&cursor={cursor}")
            page += said["users"]
            cursor = said["next"]
            if not cursor:
                break
        assert page == found
        seen = told(cluster, name, f"users/{ALICE}")
        assert [each["host"] for each in seen["sessions"]] == ["b"]
        owners = [each["owner"] for each in told(cluster, name, "cluster")["ranges"]]
        assert seen["host"] == owners[seen["worker"]]


@pytest.mark.parametrize("asked", ["a", "b", "c"])
def test_sessions_are_closed_on_any_host(cluster: Cluster, asked: str) -> None:
    alice = cluster["b"].login(ALICE)

    said = typed(cluster, asked, "kick", ALICE)

    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout == f"{user_jid(ALICE)}: 1 sessions closed\n"
    assert alice.recv()[0] == "Cmd"
    with pytest.raises(ConnectionOver, match="1012"):
        alice.recv()


@pytest.mark.parametrize("range_", range(RANGES))
def test_what_waits_is_shown_and_thrown_away_by_any_host(cluster: Cluster, range_: int) -> None:
    user = user_of(range_)
    queued(cluster, "a", user, f"W{range_}", f"X{range_}")

    for name in "abc":
        assert told(cluster, name, f"users/{user}")["waiting_messages"] == 2
        entries = told(cluster, name, f"users/{user}/queue")["entries"]
        assert [each["id"] for each in entries] == [f"W{range_}", f"X{range_}"]
        found = told(cluster, name, f"message?id=W{range_}")
        assert [each["worker"] for each in found["copies"]] == [range_]
        largest = told(cluster, name, "mailboxes?limit=100")["mailboxes"]
        assert user_jid(user) in [each["jid"] for each in largest]
        begun = ask(cluster, name, "purge", method="POST", body={"user": user}).json
        assert done(cluster, name, begun)["counts"]["messages"] == 2
    owner = told(cluster, "a", "cluster")["ranges"][range_]["owner"]
    asked = "abc"["abc".index(owner) - 1]

    said = typed(cluster, asked, "purge", user, "--yes")

    assert said.returncode == 0, said
    assert f"host {owner}: " in said.stdout
    assert "2 messages" in said.stdout
    for name in "abc":
        assert told(cluster, name, f"users/{user}/queue")["entries"] == []


def test_what_waits_too_long_is_thrown_away_on_all_hosts(cluster: Cluster) -> None:
    users = [user_of(range_, 1) for range_ in range(RANGES)]
    for user in users:
        queued(cluster, "c", user, f"O{user}")
    wanted = {"older_than_s": 0}

    begun = ask(cluster, "b", "purge", method="POST", body=wanted).json
    assert done(cluster, "b", begun)["counts"]["messages"] == RANGES
    begun = ask(cluster, "b", "purge", method="POST", body={**wanted, "dry_run": False}).json

    operation = done(cluster, "b", begun)
    assert operation["counts"]["messages"] == RANGES
    owners = {each["owner"] for each in told(cluster, "a", "cluster")["ranges"]}
    assert all(f"host {owner}: " in operation["detail"] for owner in owners)
    assert told(cluster, "a", "mailboxes")["mailboxes"] == []


@pytest.mark.parametrize("asked", ["a", "b", "c"])
def test_an_operator_writes_to_users_of_all_ranges(cluster: Cluster, asked: str) -> None:
    for range_ in range(RANGES):
        user = user_of(range_, 2)
        message_id = f"A{asked}{range_}"
        body = {"to": user, "message": {"conversation": "x"}, "id": message_id}
        assert ask(cluster, asked, "messages", method="POST", body=body).status == 200
        entries = told(cluster, asked, f"users/{user}/queue")["entries"]
        assert message_id in [each["id"] for each in entries]


def test_a_ban_closes_sessions_on_another_host_at_once(cluster: Cluster) -> None:
    alice = cluster["b"].login(ALICE)

    told(cluster, "a", f"users/{ALICE}/ban", method="PUT", body={"reason": "spam"})

    assert alice.recv()[0] == "Cmd"
    with pytest.raises(ConnectionOver, match="4401"):
        alice.recv()
    for name in "bc":
        listed = told(cluster, name, "bans")["bans"]
        assert [each["jid"] for each in listed] == [user_jid(ALICE)]
    assert told(cluster, "c", f"users/{ALICE}/ban", method="DELETE")["was_banned"]
    poll_for("it to be let in", lambda: told(cluster, "b", "bans")["bans"] == [])


def test_a_trace_goes_through_all_hosts(cluster: Cluster) -> None:
    user = user_of(0, 3)
    traced = cluster["b"].login(user)
    said = told(cluster, "c", f"users/{user}/trace")
    found: list[tuple[str, str, str]] = []

    def is_stored() -> bool:
        nonlocal said
        traced.send_message(BOB, f"T{len(found)}")
        traced.recv()
        said = told(cluster, "c", f"users/{user}/trace?cursor={said['cursor']}")
        found.extend((each["host"], each["role"], each["what"]) for each in said["events"])
        return any(what == "stored" for _, _, what in found)

    poll_for("what was stored", is_stored)
    assert ("b", "front", "read") in found
    assert said["gaps"] == []


def test_processes_are_of_one_host_and_that_is_said(cluster: Cluster) -> None:
    for name in "abc":
        status = told(cluster, name, "status")
        assert status["host"] == name
        owners = [each["owner"] for each in told(cluster, name, "cluster")["ranges"]]
        workers = {each["index"]: each for each in status["processes"] if each["role"] == "worker"}
        assert all(workers[index]["standby"] == (owners[index] != name) for index in workers)
        assert f"on host {name}, up " in typed(cluster, name, "status").stdout
        assert told(cluster, name, "figures")["host"] == name
    begun = ask(cluster, "b", "reload", method="POST").json
    assert begun["what"] == "reload on host b"


def test_it_is_shown_how_hosts_and_ranges_are(cluster: Cluster) -> None:
    assert "/api/v1/cluster" in Operator(cluster["a"]).ask("/openapi.json").json["paths"]

    def is_well() -> bool:
        return bool(told(cluster, "a", "cluster")["amiss"] == [])

    poll_for("all to be well", is_well, deadline_s=60)
    found = told(cluster, "b", "cluster")
    assert [(each["name"], each["life"], each["state"]) for each in found["hosts"]] == [
        (name, "living", "") for name in "abc"
    ]
    assert sum(each["owns"] for each in found["hosts"]) == RANGES
    assert [each["number"] for each in found["ranges"]] == list(range(RANGES))
    assert all(each["owner"] and each["leader"] and each["epoch"] for each in found["ranges"])
    assert all(len(each["standbys"]) == 1 for each in found["ranges"])
    top = typed(cluster, "c", "top", "--once").stdout
    assert " on host c, up " in top
    assert "hosts:  a owns " in top
    assert json.loads(typed(cluster, "c", "top", "--json").stdout)["cluster"]["name"] == "relay"
    samples = Operator(cluster["a"]).samples()
    assert samples["relay_cluster_agent_up"] == 1
    assert samples['relay_cluster_host_living{host="c"}'] == 1


@pytest.fixture(scope="module")
def page(cluster: Cluster) -> Iterator[Page]:
    """A console of host `b` that is live."""
    if PROGRAM is None:
        pytest.skip("Chromium is not installed")
    with console_of(cluster["b"]) as console, chromium.open_page(PROGRAM) as page:
        page.open(console.address)
        poll_for("that it is live", lambda: text_of(page, "#state") == "live", deadline_s=60)
        yield page


def text_of(page: Page, selector: str) -> str:
    found = page.run(f"document.querySelector({selector!r})?.innerText ?? ''")
    assert isinstance(found, str)
    return found


def test_the_console_shows_hosts_and_ranges(cluster: Cluster, page: Page) -> None:
    def shows(what: str, where: str) -> None:
        poll_for(what, lambda: what in text_of(page, where), deadline_s=60)

    shows("nothing is amiss", "#cluster-summary")

    assert "3 of 3 hosts live, 4 ranges" in text_of(page, "#cluster-summary")
    assert page.run("document.getElementById('amiss').hidden") is True
    rows = "document.getElementById('{}').tBodies[0].rows"
    assert page.run(f"{rows.format('host-table')}.length") == 3
    assert page.run(f"{rows.format('range-table')}.length") == RANGES
    assert "on host b" in text_of(page, "#summary")
    shows("worker ", "#process-table")
    processes = told(cluster, "b", "status")["processes"]
    has_standby = any(each["standby"] for each in processes)
    assert ("standby" in text_of(page, "#process-table")) == has_standby


@pytest.mark.parametrize("width", [390, 768, 1400])
def test_no_width_of_the_console_needs_to_be_scrolled_sideways(page: Page, width: int) -> None:
    page.resize(width, 800)

    assert page.run("document.documentElement.scrollWidth") <= width


def test_a_host_that_is_lost_is_named_and_the_others_are_asked(
    cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    """The last one: the host stays away."""
    alice = cluster["b"].login(ALICE)
    cluster["c"].kill()

    said = ask(cluster, "a", f"users/{ALICE}/kick", method="POST").json
    assert said["sessions"] == 1
    assert {each["host"] for each in said["not_asked"]} == {"c"}
    alice.drop()
    poll_for("it to be missed", lambda: unheard(cluster) == ["c"], deadline_s=60)
    said = typed(cluster, "a", "kick", ALICE)
    assert said.returncode == 3
    assert "not asked: host c: nothing is heard of it" in said.stderr
    poll_for("others to own all", lambda: has_owners(cluster), deadline_s=60)
    for range_ in range(RANGES):
        assert told(cluster, "b", f"users/{user_of(range_)}")["host"] in "ab"
    found = ask(cluster, "b", "cluster").json
    assert "host c is silent" in found["amiss"]
    assert [each["host"] for each in found["not_asked"]] == ["c"]
    if PROGRAM is not None:
        page = request.getfixturevalue("page")
        silent = "host c is silent"
        poll_for(silent, lambda: silent in text_of(page, "#amiss"), deadline_s=60)


def unheard(cluster: Cluster) -> list[str]:
    """Return the hosts of which nothing is heard."""
    silent = ask(cluster, "a", f"users/{ALICE}/kick", method="POST").json["not_asked"]
    return [each["host"] for each in silent if each["role"] == "host"]


def has_owners(cluster: Cluster) -> bool:
    ranges = ask(cluster, "b", "cluster").json["ranges"]
    return all(each["owner"] in ("a", "b") for each in ranges)
