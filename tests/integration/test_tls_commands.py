"""`relay chat` and `relay load`, as commands, with a relay that is reached over TLS."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import RelayStarter
from tests.outside.certificates import Authority
from tests.outside.frames import ALICE, BOB
from tests.outside.processes import REPOSITORY
from tests.outside.relay import Relay
from tests.outside.tlsends import TlsFront, ca_file, serving
from tests.outside.waiting import poll_for

pytestmark = pytest.mark.ordeal


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    return start_relay(workers=1)


@pytest.fixture
def front(relay: Relay, tmp_path: Path) -> Iterator[TlsFront]:
    """What wants clients of the authority `ca.pem`, as `own.pem` and `own.key` are."""
    authority = Authority()
    ca_file(authority, tmp_path, "ca")
    authority.issue("a client").write(tmp_path, "own")
    served = serving(authority, tmp_path, wants_clients=True)
    with TlsFront(served, relay.port) as front:
        yield front


def run(*arguments: str, at: Path, say: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of `relay`; what begins with @ is a file below `at`."""
    found = [str(at / each[1:]) if each.startswith("@") else each for each in arguments]
    return subprocess.run(
        [sys.executable, "-m", "relay", *found],
        cwd=REPOSITORY,
        input=say,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_chat_goes_over_tls(front: TlsFront, relay: Relay, tmp_path: Path) -> None:
    bob = relay.login(BOB)
    chat = ("chat", ALICE, "--to", BOB, "--url", front.url, "--wait", "0")
    own = ("--client-cert", "@own.pem", "--client-key", "@own.key")

    said = run(*chat, "--ca-file", "@ca.pem", *own, at=tmp_path, say="hello\n")
    untrusted = run(*chat, *own, at=tmp_path, say="hello\n")
    unshown = run(*chat, "--ca-file", "@ca.pem", at=tmp_path, say="hello\n")

    assert said.returncode == 0, said.stderr
    assert bob.recv()[2][0]["message"] == {"conversation": "hello"}
    for refused, told in (
        (untrusted, "its certificate comes from an authority that is not trusted here"),
        (unshown, "wants another client certificate"),
    ):
        assert refused.returncode == 1
        [line] = refused.stderr.splitlines()
        assert line.startswith(f"-- no connection to {front.url}: ")
        assert told in line


@pytest.mark.parametrize(
    "scenario",
    [
        "chat --pairs 2 --warm-up 100ms --for 300ms",
        "group --members 5 --warm-up 100ms --for 300ms",
        "offline --users 2 --messages 50",
        "storm --logins 40 --procs 2",
        "idle --sockets 10 --for 300ms",
        "mixed --users 8 --rate 20 --warm-up 100ms --for 1s",
    ],
)
def test_load_goes_over_tls_and_its_page_says_so(
    scenario: str, front: TlsFront, relay: Relay, tmp_path: Path
) -> None:
    pytest.importorskip("hdrh", reason="the extra `load` is not installed")
    if scenario.startswith(("group", "mixed")):
        assert (
            run("load", *scenario.split(), "--groups-file", "@groups", at=tmp_path).returncode == 0
        )
        shutil.copy(tmp_path / "groups", relay.groups_path)
        relay.reload()
        poll_for("the groups", lambda: bool(relay.log.events("groups.reloaded")))
    tls = ("--ca-file", "@ca.pem", "--client-cert", "@own.pem", "--client-key", "@own.key")

    ran = run("load", *scenario.split(), "--url", front.url, *tls, "--html", "@page", at=tmp_path)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\nover wss, TLSv1.3 TLS_AES_256_GCM_SHA384, client certificates\n" in ran.stdout
    assert "<dd>over wss, TLSv1.3 " in (tmp_path / "page").read_text()
