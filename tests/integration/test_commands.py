"""Each command of an operator, while the admin is killed amid it, twice: before it hears, and then.

What there is to run is read off the command tree. A command that is new fails here until ROWS says
how it is run, and of one that acts how it is seen to be done.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import psutil  # type: ignore[import-untyped]
import pytest

from relay.command import PROGRAMS
from tests.outside.frames import ALICE, BOB, CAROL, GROUP
from tests.outside.operator import Operator
from tests.outside.processes import REPOSITORY, groups_document
from tests.outside.receiver import SECRET, Receiver
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .test_tokens import config as of_tokens

pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(180)]

# Those that are not an operator's of one relay that runs: they start it, are its clients', or ask
# what several hosts have in common. All others are here.
OTHERS: Final = frozenset(
    {
        *("serve", "config", "completion", "token", "chat", "send", "listen"),
        *("cluster init", "cluster status", "cluster drain", "cluster move"),
        *("cluster add", "cluster remove", "cluster backup", "cluster restore"),
        "cluster settings",
        *(f"load {name}" for name in ("chat", "group", "idle", "mixed", "offline", "storm")),
        "load compare",
    }
)
# docs/operating.md: done, not done, nobody knows or not all was told.
CODES: Final = (0, 1, 3)
# Of one that hears nothing more: its patience with an admin that dies, and what this machine does.
ENDS_WITHIN_S: Final = 45.0
# Of an operation that goes on without the admin, such as a roll of all processes.
SETTLES_WITHIN_S: Final = 60.0
# Its first answer comes in less.
LASTS_S: Final = 0.9

Api = Callable[..., Any]


class Row(NamedTuple):
    """How one is run: `{n}` is another number each time, `{place}` a directory."""

    words: str = ""
    # What has to be there before.
    given: Callable[[Api, str], object] = lambda api, n: None
    # Of one that acts: how much of it is done, from 0 to 1; there is nothing between.
    done: Callable[[Api, str], float] | None = None
    # What a second time may say in place of being done, since it was.
    or_says: str = ""
    # Whether it goes on by itself until somebody answers.
    waits: bool = False
    asks_the_admin: bool = True
    # Whether it waits for what goes on a second and longer, and so is cut amid that.
    lasts: bool = False


def _bans(api: Api) -> str:
    return json.dumps(api("bans?limit=1000"))


def _revoked(api: Api) -> str:
    return json.dumps(api("tokens/revoked?limit=1000"))


def _members(api: Api, group: str) -> list[str]:
    found = api(f"groups/{group}")
    return [each.partition("@")[0] for each in found.get("participants", ())]


def _make(api: Api, group: str, *members: str) -> None:
    body = {"subject": "made", "participants": [f"{each}@c.us" for each in members]}
    api(f"groups/{group}", "PUT", body)


def _send(api: Api, to: str, *ids: str) -> None:
    for each in ids:
        message = {"conversation": "x"}
        api("messages", "POST", {"to": f"{to}@c.us", "message": message, "id": each})


def _waiting(api: Api, user: str) -> int:
    return len(api(f"users/{user}/queue")["entries"])


ROWS: Final = {
    "status": Row(),
    "users": Row(),
    "user": Row(BOB),
    "queue": Row(BOB),
    "mailboxes": Row(),
    "top": Row("--once"),
    "trace": Row(f"{BOB} --for 2s"),
    "message": Row("M0"),
    "kick": Row(BOB, done=lambda api, n: 1.0),
    "ban": Row("ban{n}", done=lambda api, n: float(f"ban{n}@" in _bans(api))),
    "unban": Row(
        "unban{n}",
        given=lambda api, n: api(f"users/unban{n}/ban", "PUT", {}),
        done=lambda api, n: float(f"unban{n}@" not in _bans(api)),
    ),
    "bans": Row(),
    "tokens revoke": Row("jti{n}", done=lambda api, n: float(f'"jti{n}"' in _revoked(api))),
    "tokens restore": Row(
        "--user back{n}",
        given=lambda api, n: api("tokens/revoke", "POST", {"user": f"back{n}"}),
        done=lambda api, n: float(f"back{n}@" not in _revoked(api)),
    ),
    "tokens list": Row(),
    "announce": Row(
        "sent{n} hello --id A{n}",
        done=lambda api, n: [each["id"] for each in api(f"users/sent{n}/queue")["entries"]].count(
            f"A{n}"
        ),
        waits=True,
    ),
    "groups list": Row(),
    "groups show": Row(GROUP),
    "groups set": Row(
        f"1-{{n}}@g.us --subject made --member {ALICE} --member {BOB}",
        done=lambda api, n: len(_members(api, f"1-{n}@g.us")) / 2,
    ),
    "groups add": Row(
        f"2-{{n}}@g.us {BOB} {CAROL}",
        given=lambda api, n: _make(api, f"2-{n}@g.us", ALICE),
        done=lambda api, n: (len(_members(api, f"2-{n}@g.us")) - 1) / 2,
    ),
    "groups remove": Row(
        f"3-{{n}}@g.us {BOB} {CAROL}",
        given=lambda api, n: _make(api, f"3-{n}@g.us", ALICE, BOB, CAROL),
        done=lambda api, n: (3 - len(_members(api, f"3-{n}@g.us"))) / 2,
    ),
    "groups delete": Row(
        "4-{n}@g.us",
        given=lambda api, n: _make(api, f"4-{n}@g.us", ALICE),
        done=lambda api, n: float(not _members(api, f"4-{n}@g.us")),
    ),
    "groups export": Row(),
    "groups import": Row(
        "{place}/groups{n}.json",
        done=lambda api, n: sum(bool(_members(api, f"{each}-{n}@g.us")) for each in (5, 6)) / 2,
    ),
    "webhooks status": Row(),
    "webhooks dead": Row(),
    "webhooks retry": Row("--all", done=lambda api, n: 1.0),
    "webhooks drop": Row("--all", done=lambda api, n: 1.0),
    "webhooks resume": Row(done=lambda api, n: 1.0),
    "webhooks test": Row(done=lambda api, n: 1.0),
    "reload": Row(done=lambda api, n: 1.0),
    "roll": Row(done=lambda api, n: 1.0, lasts=True),
    "drain": Row("front 1", done=lambda api, n: 1.0, lasts=True),
    "workers": Row("{n}", done=lambda api, n: float(api("status")["workers_wanted"] == int(n))),
    "purge": Row(
        "gone{n} --yes",
        given=lambda api, n: _send(api, f"gone{n}", "P1", "P2"),
        done=lambda api, n: (2 - _waiting(api, f"gone{n}")) / 2,
        lasts=True,
    ),
    "check": Row(done=lambda api, n: 1.0, lasts=True),
    "backup": Row(
        "copy{n}",
        done=lambda api, n: float(
            f"copy{n}" in [each["name"] for each in api("backups")["backups"]]
        ),
        or_says="is there already",
        lasts=True,
    ),
    "store purge": Row(
        "{data} --user put{n}",
        given=lambda api, n: _send(api, f"put{n}", "S1", "S2"),
        done=lambda api, n: (2 - _waiting(api, f"put{n}")) / 2,
        asks_the_admin=False,
    ),
    "store compact": Row("{data} --dry-run", asks_the_admin=False),
}
# Each has a test of its own: it goes on until it is ended, or is the end of the relay.
APART: Final = ("console", "stop")


def commands() -> Iterator[str]:
    """Return what anybody may type, from the tree itself."""
    for name, program in PROGRAMS.items():
        module, _, attribute = program.target.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, click.Group):
            yield from (f"{name} {each}" for each in found.commands)
        else:
            yield name


def test_every_command_has_a_row() -> None:
    assert set(commands()) == {*ROWS, *APART, *OTHERS}


class Served(NamedTuple):
    relay: Relay
    place: Path

    def api(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask an admin, as soon as there is one."""
        found: list[Any] = []

        def has_answered() -> bool:
            try:
                answer = Operator(self.relay).ask(f"/api/v1/{path}", method=method, body=body)
            except OSError:
                return False
            if answer.status in (503, 504):  # a worker or a front is being renewed
                return False
            found.append(answer.json)
            return True

        poll_for(f"an answer to {method} {path}", has_answered, deadline_s=30)
        return found[0]

    def line(self, command: str, row: Row, number: str) -> list[str]:
        data = str(self.relay.directory / "data")
        words = row.words.format(n=number, place=self.place, data=data).split()
        of_data = () if "{data}" in row.words else ("--data", data)
        return [sys.executable, "-m", "relay", *command.split(), *words, *of_data]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A relay with all that a command may be about."""
    place = tmp_path_factory.mktemp("served")
    (place / "logins").mkdir()
    secret = place / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    with Receiver(place / "receiver") as receiver:
        config = f"""
[admin]
backup_directory = "{place / "backups"}"
jid = "operator"
[supervisor]
hung_after_s = 60.0
restart_min_s = 0.02
restart_max_s = 0.05
[webhooks]
url = "{receiver.url}"
secret_file = "{secret}"
events = ["message.queued"]
{of_tokens(place / "logins")}
"""
        with Relay(
            admin=True,
            fronts=2,
            config=config + "[server]\nworkers = 2\n",
            groups={GROUP: [ALICE, BOB]},
            says_workers=False,
        ) as relay:
            found = Served(relay, place)
            _send(found.api, BOB, "M0", "M1")
            yield found


def connections_at(relay: Relay) -> int:
    """Count those who have knocked at the admin's socket, whether it has taken them in or not."""
    run = str(relay.directory / "run")
    lines = Path("/proc/net/unix").read_text().splitlines()
    listening = "00010000"
    return sum(
        f" {run}/" in line and "/admin." in line and line.split()[3] != listening for line in lines
    )


def run_amid(
    served: Served, command: list[str], *, knocks: bool, hears: bool, after_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command, and kill the admin so long after it has knocked there, if it `knocks` at all.

    Unless the admin `hears` it, it is stopped all the while.
    """
    relay = served.relay
    assert served.api("status")  # it has loaded what answers
    admin = relay.child("admin")
    poll_for("nobody else to ask", lambda: connections_at(relay) == 0)
    if not hears:
        admin.process.suspend()
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        ends_s = time.monotonic() + (20 if knocks else 0.3)
        while process.poll() is None and time.monotonic() < ends_s:
            if knocks and connections_at(relay):
                break
            time.sleep(0.0005)
        time.sleep(after_s)
        admin.process.kill()
        out, err = process.communicate(timeout=ENDS_WITHIN_S)
    finally:
        process.kill()
        with suppress(psutil.NoSuchProcess):
            admin.process.kill()  # it may be stopped still
    poll_for("the next admin", lambda: relay.children("admin") not in ([], [admin]))
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def assert_says_how_it_ended(done: subprocess.CompletedProcess[str]) -> None:
    said = f"{done.args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.returncode in CODES, said
    assert "Traceback" not in said, said
    # The name of an exception is no sentence.
    assert not re.search(r"Error|[A-Z]\w+\(", done.stderr), said
    if done.returncode == 1 and not done.stdout:
        assert re.fullmatch(r"relay[^\n]*: [^\n]{10,}\n", done.stderr), said
    elif done.returncode:
        assert (done.stdout + done.stderr).strip(), said


def done_again(served: Served, command: list[str], row: Row) -> None:
    """Run it until it is done: what the supervisor does for another goes on meanwhile."""
    ends_s = time.monotonic() + SETTLES_WITHIN_S
    while True:
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SETTLES_WITHIN_S,
            check=False,
        )
        assert_says_how_it_ended(done)
        if done.returncode == 0 or (row.or_says and row.or_says in done.stderr + done.stdout):
            return
        assert time.monotonic() < ends_s, f"{done.args}\n{done.stdout}\n{done.stderr}"
        time.sleep(0.1)


@pytest.mark.parametrize("command", ROWS)
def test_whatever_the_admin_dies_amid_ends_soon_says_how_and_can_be_done_again(
    served: Served, command: str
) -> None:
    row, index = ROWS[command], list(ROWS).index(command)
    for attempt, hears in enumerate((False, True), start=1):
        number = str(2 * index + attempt + 2)
        both = groups_document({f"5-{number}@g.us": [ALICE], f"6-{number}@g.us": [ALICE]})
        (served.place / f"groups{number}.json").write_text(both)
        row.given(served.api, number)
        line = served.line(command, row, number)

        after_s = 0.05
        if hears:
            after_s = LASTS_S if row.lasts else 0.002 * (index % 6)
        done = run_amid(served, line, knocks=row.asks_the_admin, hears=hears, after_s=after_s)

        assert_says_how_it_ended(done)
        if row.asks_the_admin and not hears:
            assert done.returncode == (0 if row.waits else 1), done
        if row.done is not None:
            share = row.done(served.api, number)
            assert share in (0.0, 1.0), done
            if done.returncode == 0:
                assert share == 1.0, done
        done_again(served, line, row)
        if row.done is not None:
            assert row.done(served.api, number) == 1.0


def test_a_console_goes_on_and_says_meanwhile_that_nobody_answers(served: Served) -> None:
    line = served.line("console", Row(), "0")
    with subprocess.Popen(
        line, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address, _, token = process.stdout.readline().split()[1].partition("#token=")
        admin = served.relay.child("admin")
        assert status_at(address, token) == 200
        admin.process.suspend()
        admin.process.kill()
        assert status_at(address, token) in (200, 502)
        poll_for("its answer", lambda: status_at(address, token) == 200)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "Traceback" not in out + err


def status_at(address: str, token: str) -> int:
    request = urllib.request.Request(
        f"{address}api/v1/status", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_a_live_top_goes_on_and_says_meanwhile_that_nobody_answers(served: Served) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    process = subprocess.Popen(
        served.line("top", Row("--every 0.2"), "0"),
        cwd=REPOSITORY,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(follower)
    shown = [b""]

    def shows(*wanted: bytes) -> bool:
        if select.select([leader], [], [], 0.05)[0]:
            shown[0] += os.read(leader, 65536)
        return any(each in shown[0] for each in wanted)

    try:
        poll_for("a look", partial(shows, b"worker 1"))
        admin = served.relay.child("admin")
        admin.process.suspend()
        poll_for("a question", lambda: connections_at(served.relay) > 0)
        admin.process.kill()
        poll_for("that to be said", partial(shows, b"did not answer", b"answers nobody"))
        poll_for("the next admin", lambda: served.relay.children("admin") not in ([], [admin]))
        os.write(leader, b"q")
        code = process.wait(20)
    finally:
        process.kill()
        os.close(leader)
    assert code == 0
    assert b"Traceback" not in shown[0]


def test_a_stop_needs_no_admin(served: Served) -> None:
    with Relay(admin=True, workers=1) as relay:
        admin = relay.child("admin")
        line = Served(relay, served.place).line("stop", Row(), "0")
        with subprocess.Popen(
            line, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            admin.process.suspend()
            time.sleep(0.05)
            admin.process.kill()
            out, err = process.communicate(timeout=60)

        assert (process.returncode, err) == (0, "")
        assert out.startswith("stopped, after ")
        assert relay.process.wait(20) == 0
