"""A relay that is started in a directory of its operator, whose settings name files from there.

Its children run in the directory of the code. So each path is to be made absolute by whoever was
called there, also for processes that start, and files that are read, much later.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.auth.signing import SECRET, write
from tests.outside.certificates import Authority
from tests.outside.frames import ALICE, AUTH_SUCCESS, BOB, CAROL, GROUP, user_jid
from tests.outside.processes import children_of, groups_document
from tests.outside.waiting import DEADLINE_S, poll_for

from .command import Command
from .test_tokens import auth, token_of

pytestmark = pytest.mark.ordeal

HOST = "chat.example.org"
OTHER_GROUP = "222@g.us"
EXTENSION = """
from relay.extensions.contract import Extension, FrontHalf, Request


class Echo(FrontHalf):
    def requested(self, asker, body):
        self.desk.answer(asker, b'["echoed"]')


EXTENSION = Extension(
    name="echo", requests={("echo", ""): Request(decode=lambda parts: None)}, front=Echo
)
"""
# In directories beside that of the settings file: paths are from where the relay is called.
SETTINGS = """
[server]
data = "var/data"
groups = "etc/groups.json"
extensions = ["echoes"]

[tls]
certificate_files = ["tls/it.pem"]
key_files = ["tls/it.key"]
client_certificates = "optional"
client_ca_file = "tls/ca.pem"

[auth]
mode = "token"
deny_file = "lists/deny"

[auth_token]
secret_file = "secrets/hs256"
"""


class Home:
    """The directory of an operator, and a relay that was called there by relative names alone."""

    def __init__(self, directory: Path, run: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.authority = Authority()
        for name in ("etc", "tls", "lists", "secrets", "modules", "var"):
            (directory / name).mkdir()
        (directory / "etc/relay.toml").write_text(SETTINGS)
        self.write_groups(GROUP)
        self.authority.issue(HOST).write(directory / "tls", "it")
        (directory / "tls/ca.pem").write_bytes(self.authority.pem)
        self.deny("# nobody")
        write(directory / "secrets/hs256", SECRET)
        (directory / "modules/echoes.py").write_text(EXTENSION)
        self._environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
        self._environment |= {"PYTHONPATH": "modules", "TMPDIR": str(run)}
        self._stack = stack
        self._runner = stack.enter_context(asyncio.Runner())
        self.start()
        self.wait_until_ready()

    def start(self) -> None:
        self.command = Command(
            self.directory,
            *("--config", "etc/relay.toml"),
            cwd=self.directory,
            environment=self._environment,
        )
        self._stack.callback(self.command.clean_up)

    def wait_until_ready(self) -> None:
        poll_for("the ready line", lambda: "\n" in self.command.stdout, deadline_s=2 * DEADLINE_S)
        self.url = self.command.stdout.split()[1]

    def write_groups(self, *groups: str) -> None:
        document = groups_document({group: [ALICE, BOB] for group in groups})
        (self.directory / "etc/groups.json").write_text(document)

    def deny(self, line: str) -> None:
        new = self.directory / "lists/new"
        new.write_text(line + "\n")
        new.rename(self.directory / "lists/deny")

    def hang_up(self) -> None:
        self.command.process.send_signal(signal.SIGHUP)

    def kill_children(self) -> None:
        """Have all of them followed by others, which hear of nothing but from the supervisor."""
        for child in children_of(psutil.Process(self.command.process.pid)):
            child.process.kill()

    def login(self, user: str, trust: ssl.SSLContext | None = None) -> ClientConnection:
        """Return a connection that is logged in, over TLS."""

        async def logged_in() -> ClientConnection:
            client = await connect(
                self.url,
                ssl=trust or self.authority.trusted(),
                server_hostname=HOST,
                open_timeout=DEADLINE_S,
                close_timeout=1,
                proxy=None,
            )
            await client.send(json.dumps(auth(user, token_of(user))))
            if json.loads(await client.recv()) != AUTH_SUCCESS:
                await client.close()
                raise PermissionError(user)
            await client.recv()  # its queue
            return client

        return self._runner.run(asyncio.wait_for(logged_in(), DEADLINE_S))

    def may_log_in(self, user: str) -> bool:
        with suppress(PermissionError, OSError, WebSocketException, TimeoutError):
            self.close(self.login(user))
            return True
        return False

    def ask(self, client: ClientConnection, frame: Any) -> Any:
        """Return the next frame that comes for this one."""

        async def answered() -> Any:
            await client.send(json.dumps(frame))
            return json.loads(await client.recv())

        return self._runner.run(asyncio.wait_for(answered(), DEADLINE_S))

    def close(self, client: ClientConnection) -> None:
        self._runner.run(client.close())

    def code_of(self, client: ClientConnection) -> int:
        """Wait until the relay has closed it; return the code."""

        self._runner.run(asyncio.wait_for(client.wait_closed(), DEADLINE_S))
        assert client.close_code is not None
        return client.close_code


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    # The sockets of the bus are below a short path, unlike pytest's.
    with tempfile.TemporaryDirectory(prefix="relay-test-") as run, ExitStack() as stack:
        yield Home(tmp_path, Path(run), stack)


def send_to(group: str, message_id: str) -> Any:
    key = {"remoteJid": group, "fromMe": True, "id": message_id}
    return ["action", {"add": "relay"}, [{"key": key, "message": {"conversation": "hi"}}]]


def test_files_that_settings_name_from_there_are_found_at_the_start_and_ever_after(
    home: Home,
) -> None:
    alice = home.login(ALICE)
    assert home.ask(alice, send_to(GROUP, "M1"))[1]["ack"] == 1
    assert home.ask(alice, ["echo", {}]) == ["echoed"]
    assert (home.directory / "var/data/meta.json").exists()

    # Others in the place of those who were killed.
    home.kill_children()
    poll_for("successors", lambda: home.may_log_in(ALICE))
    alice = home.login(ALICE)
    assert home.ask(alice, ["echo", {}]) == ["echoed"]
    assert home.ask(alice, send_to(OTHER_GROUP, "M2"))[0] == "error"

    # What is read again: groups by a signal, the others when they change.
    home.write_groups(GROUP, OTHER_GROUP)
    home.hang_up()
    home.command.wait_for_log(r"groups\.reloaded")
    poll_for("the other group", lambda: home.ask(alice, send_to(OTHER_GROUP, "M3"))[0] == "Msg")
    carol = home.login(CAROL)
    home.deny(f"user {user_jid(CAROL)}")
    assert home.code_of(carol) == 4401
    assert not home.may_log_in(CAROL)
    home.authority = Authority("another CA")
    home.authority.issue(HOST).write(home.directory / "tls", "it")
    poll_for("the other certificate", lambda: home.may_log_in(ALICE))

    # A supervisor that starts anew in its process, and renews all others.
    home.command.process.send_signal(signal.SIGUSR2)
    home.command.wait_for_log(r"supervisor\.rolled")
    bob = home.login(BOB)
    assert home.ask(bob, ["echo", {}]) == ["echoed"]
    home.command.process.terminate()
    assert home.command.wait() == 0
    assert "Traceback" not in home.command.stderr
