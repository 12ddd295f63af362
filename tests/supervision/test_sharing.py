"""What a host does with its files and the accord of its cluster, at a start and at a reload."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from relay.disk.accord import Accord, Origin, accord_path, agreed_path, decode_accord
from relay.process.memo import read_memo
from relay.settings.commandline import Sources
from relay.supervision.reload import InForce
from relay.supervision.sharing import Sharing, Taken
from tests.supervision.sharing_harness import BY, CLUSTER, GROUP, Host, check_keys


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """That of a supervisor."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def lines() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def a(tmp_path: Path, lines: list[MutableMapping[str, Any]]) -> Host:
    return Host(tmp_path, "a", lines)


@pytest.fixture
def b(tmp_path: Path, lines: list[MutableMapping[str, Any]]) -> Host:
    return Host(tmp_path, "b", lines)


def test_a_reload_asks_for_what_the_files_say_and_nothing_of_it_holds_before(a: Host) -> None:
    a.start()
    a.write("[limits]\nnesting = 8\n[log]\nlevel = 'debug'\n")

    wanted = a.wants()

    assert wanted.accord.settings["limits.nesting"] == 8
    assert (wanted.accord.origin.number, wanted.accord.origin.by) == (1, "a")
    assert "log.level" not in wanted.accord.settings
    assert a.sharing.memo is not None
    assert decode_accord(read_memo(a.sharing.memo)) == wanted.accord
    assert a.nesting == 32
    settled = a.sharing.settle(wanted.number, "")
    assert settled is not None
    assert settled[0] == Taken(settings=True)
    assert settled[1].by == BY
    assert a.nesting == 8
    assert a.in_force.settings.log.level == "debug"
    assert a.in_force.report.refusals == []


def test_what_the_others_do_not_take_holds_nowhere(a: Host) -> None:
    a.start()
    a.write("[limits]\nnesting = 8\n[log]\nlevel = 'debug'\n")
    wanted = a.wants()

    assert a.sharing.settle(wanted.number, "b was faster") == (Taken(), wanted)

    assert a.in_force.report.refusals == ["the settings were refused: b was faster"]
    assert a.nesting == 32
    assert a.in_force.settings.log.level == "info"
    assert a.sharing.settle(wanted.number, "") is None, "it was settled before"
    assert a.share()


def test_while_one_is_asked_for_another_reload_is_refused(a: Host) -> None:
    a.start()
    wanted = a.wants()

    assert "another reload is under way" in a.refused()
    assert a.sharing.settle(wanted.number, "") is not None


def test_a_bad_file_is_refused_before_anybody_is_asked(a: Host) -> None:
    a.groups.write_text("{}")
    a.start(**{"server.groups": str(a.groups)})
    a.write("[limits]\nnesting = 800\n")
    assert "limits.nesting = 800 is not allowed" in a.refused()
    a.write("")
    a.groups.write_text("{")
    assert "not JSON" in a.refused()
    assert a.sharing.wanted is None


def test_another_host_takes_it_and_says_where_its_file_differs(a: Host, b: Host) -> None:
    a.start()
    b.start()
    a.write("[limits]\nnesting = 8\n")

    assert b.has(a.share()) == Taken(settings=True)

    assert b.nesting == 8
    [line] = b.logged("accord.files_differ")
    assert line["rows"] == [f"limits.nesting: 32 here ({b.config}), 8 in the cluster"]
    assert b.sharing.take() == Taken(), "it has it"


def test_a_start_takes_what_held_here_last_whatever_the_file_says(a: Host, b: Host) -> None:
    a.start()
    b.start()
    a.write("[limits]\nnesting = 8\n[log]\nlevel = 'debug'\n")
    b.has(a.share())
    b.write("[limits]\nnesting = 9\n[log]\nlevel = 'error'\n")

    b.start(**{"quota.messages_burst": 5})

    assert b.nesting == 8
    assert b.in_force.settings.log.level == "error", "a host's own"
    assert b.in_force.settings.quota.messages_burst == 10_000
    line = b.logged("accord.files_differ")[-1]
    assert line["rows"] == [
        f"limits.nesting: 9 here ({b.config}), 8 in the cluster",
        "quota.messages_burst: 5 here (--quota-messages-burst), 10000 in the cluster",
    ]


def test_an_old_file_brings_nothing_back_and_what_is_old_in_it_is_named(a: Host, b: Host) -> None:
    a.start()
    b.start()
    a.write("[limits]\nnesting = 8\n")
    b.has(a.share())
    b.start()

    refusal = b.refused()

    assert "the files here are older than the settings of the cluster (1, of a since" in refusal
    assert f"limits.nesting: 32 here ({b.config}), 8 in the cluster" in refusal
    assert b.nesting == 8
    b.write("[limits]\nnesting = 32\nids_per_ack = 7\n")
    assert "limits.nesting" in b.refused(), "one new row does not make the other one new"
    b.write("[limits]\nnesting = 8\nids_per_ack = 7\n")
    assert b.wants().accord.settings["limits.ids_per_ack"] == 7


def test_a_row_that_was_changed_here_after_others_is_news(a: Host, b: Host) -> None:
    a.start()
    b.start()
    a.write("[limits]\nnesting = 8\n")
    b.has(a.share())
    b.write("[limits]\nnesting = 9\n")

    assert a.has(b.share()) == Taken(settings=True)

    assert a.nesting == b.nesting == 9
    assert "limits.nesting: 8 here" in a.refused()


def test_a_value_of_before_may_be_had_again_by_who_has_changed_it(a: Host) -> None:
    a.start()
    a.write("[limits]\nnesting = 8\n")
    a.share()
    a.write("")

    assert a.wants().accord.origin.number == 2


def test_a_file_that_agrees_is_news_from_then_on(a: Host, b: Host) -> None:
    a.start()
    a.write("[limits]\nnesting = 8\n")
    accord = a.share()
    b.start()  # for the first time, with an old file
    b.has(accord)
    assert "older" in b.refused()
    b.write("[limits]\nnesting = 8\n")

    assert b.reload() == Taken()

    assert b.in_force.report.refusals == []
    b.write("")
    assert b.wants().accord.settings["limits.nesting"] == 32


def test_what_is_a_hosts_own_needs_nobody_else(a: Host) -> None:
    a.start()
    a.share()
    a.write("[log]\nlevel = 'debug'\n")

    assert a.reload() == Taken(settings=True)

    assert a.in_force.settings.log.level == "debug"


def test_groups_go_with_the_settings_and_those_of_no_file_stay(a: Host, b: Host) -> None:
    a.write_groups("1-1@g.us", "2-2@g.us")
    a.start(**{"server.groups": str(a.groups)})
    b.start()
    assert b.locals == []

    assert b.has(a.share()) == Taken(groups=True)

    assert a.locals == b.locals == ["1-1", "2-2"]
    b.write("[limits]\nnesting = 8\n")  # it names no groups, so it has no say in them
    a.has(b.share())
    assert (a.locals, a.nesting) == (["1-1", "2-2"], 8)
    a.write("[limits]\nnesting = 8\n")
    a.write_groups("2-2@g.us")
    assert b.has(a.share()) == Taken(groups=True)
    assert b.locals == ["2-2"]
    b.start()
    assert b.locals == ["2-2"]


def test_groups_that_another_file_has_changed_are_not_brought_back(a: Host, b: Host) -> None:
    for host in (a, b):
        host.write_groups("1-1@g.us")
        host.start(**{"server.groups": str(host.groups)})
    a.write_groups("1-1@g.us", "2-2@g.us")
    b.has(a.share())

    assert "group 2-2@g.us is not here, and is in the cluster" in b.refused()

    b.write_groups("1-1@g.us", "2-2@g.us", "3-3@g.us")
    a.has(b.share())
    a.write_groups("1-1@g.us")
    assert "group 3-3@g.us" in a.refused()


def test_what_does_not_go_with_what_is_here_is_refused_and_told_once(b: Host) -> None:
    b.start()
    accord = Accord(Origin(4, "a", 1), {"limits.message_bytes": 400_000}, {"9-9": GROUP})

    assert b.has(accord.encoded()) == Taken()
    assert b.sharing.take() == Taken()

    assert b.in_force.report.refusals[0].startswith("limits.frame_bytes = 262144 must be")
    assert len(b.logged("accord.refused")) == 1
    assert b.locals == []
    assert b.sharing.origin == Origin()


def test_an_accord_that_cannot_be_read_is_refused_at_the_start_too(b: Host) -> None:
    accord_path(b.data).write_bytes(b"{")

    b.start()

    assert b.logged("accord.refused")
    assert b.nesting == 32


def test_what_another_version_has_said_stays_in_the_accord(b: Host) -> None:
    b.start()
    settings = {"limits.nesting": 8, "limits.of_tomorrow": 1}
    b.has(Accord(Origin(4, "a", 1), settings, None).encoded())
    b.write("[limits]\nnesting = 8\nids_per_ack = 7\n")

    accord = b.wants().accord

    assert accord.origin.number == 5
    assert accord.settings["limits.of_tomorrow"] == 1


def test_a_successor_goes_on_with_the_accord_that_held(a: Host) -> None:
    a.start()
    a.write("[limits]\nnesting = 8\n")
    a.share()
    origin, settings = a.sharing.origin, a.in_force.asked
    sources = Sources(a.config, CLUSTER)

    in_force = InForce(sources, settings)
    sharing = Sharing(in_force, check_keys)
    sharing.take_over(origin)
    assert sharing.origin == origin
    later = Sharing(InForce(sources, settings), check_keys)
    later.take_over(Origin(9, "b", 2))
    assert later.origin == Origin(), "which is not the one on the disk: the agent has it taken"


def test_a_disk_that_takes_no_note_is_told(a: Host, b: Host) -> None:
    a.start()
    agreed_path(a.data).unlink()
    agreed_path(a.data).with_name("agreed.json.new").mkdir()
    a.write("[limits]\nnesting = 8\n")

    a.share()

    assert a.nesting == 8
    assert a.logged("accord.not_noted")


def test_an_accord_holds_no_secret(a: Host) -> None:
    a.start()

    content = a.wants().accord.encoded().decode()

    assert "hunter2" not in content
    assert "BEGIN" not in content
    assert msgspec.json.decode(content)


TOKENS: dict[str, object] = {"auth.mode": "token"}


def keys(host: Host) -> list[bytes]:
    """What the processes there go by."""
    return [Path(host.in_force.settings.auth_token.secret_file).read_bytes()]


def with_secret(host: Host, secret: bytes) -> dict[str, object]:
    path = host.directory / "secret"
    path.write_bytes(secret)
    path.chmod(0o600)
    return {**TOKENS, "auth_token.secret_file": str(path)}


def test_keys_of_tokens_are_those_of_who_reloads_and_are_told_nowhere(
    a: Host, b: Host, lines: list[MutableMapping[str, Any]]
) -> None:
    a.start(**with_secret(a, b"1" * 40))
    b.start(**with_secret(b, b"2" * 40))
    assert (keys(a), keys(b)) == ([b"1" * 40], [b"2" * 40])
    with_secret(a, b"3" * 40)
    assert keys(a) == [b"1" * 40], "until it is reloaded"

    b.has(a.share())

    assert keys(a) == keys(b) == [b"3" * 40]
    assert "3" * 40 not in str(lines)
    said = "content of auth_token.secret_file is another one than in the cluster (--token-secret)"
    [line] = b.logged("accord.files_differ")
    assert line["rows"] == [said]
    assert said in b.refused()
    secret = Path(b.in_force.settings.auth_token.secret_file)
    assert secret.stat().st_mode & 0o007 == 0
    b.start(**with_secret(b, b"2" * 40))
    assert keys(b) == [b"3" * 40]
    with_secret(b, b"4" * 40)
    a.has(b.share())
    assert keys(a) == keys(b) == [b"4" * 40]


def test_a_successor_has_its_processes_go_by_the_keys_of_the_cluster(a: Host, b: Host) -> None:
    a.start(**with_secret(a, b"1" * 40))
    b.start(**with_secret(b, b"2" * 40))
    b.has(a.share())
    asked = b.in_force.asked

    for origin in (b.sharing.origin, None):  # of which a predecessor of another version tells none
        b.in_force = InForce(Sources(b.config, {}), asked)
        Sharing(b.in_force, check_keys).take_over(origin)
        assert keys(b) == [b"1" * 40]


def test_an_unusable_key_is_refused_before_anybody_is_asked(a: Host) -> None:
    a.start(**with_secret(a, b"1" * 40))
    with_secret(a, b"short")

    assert "has 5 bytes, and 32 or more are needed" in a.refused()
    assert keys(a) == [b"1" * 40]
