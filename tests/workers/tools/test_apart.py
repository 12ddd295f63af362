"""A tool's child ends with its parent, however that does, and says what it has done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from relay.disk.files import take_lock
from relay.disk.layout import generation_directory, read_layout
from relay.protocol.slots import ShardMap
from tests.outside.processes import REPOSITORY, lives
from tests.outside.waiting import DEADLINE_S, poll_for
from tests.workers.tools.harness import USERS, cluster_on, fill, lay_out
from workers.store.orders import Answer, Purged, orders_in

pytestmark = pytest.mark.slow  # processes of their own

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]

# A tool: its work begins, says so by a file, and goes on as it is told to.
TOOL = """
import sys, time
from pathlib import Path
import click
from workers.tools import apart

apart._END_S = 5.0 if sys.argv[2] == "heeds" else 0.2
directory = Path(sys.argv[1])

def work(began):
    while True:
        try:
            (directory / "begun").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            if sys.argv[2] == "stuck":
                continue
            return apart.interrupted("so much is done")

@click.command()
@click.pass_context
def tool(context):
    return apart.run(context, directory, work, print)

sys.exit(tool.main([], prog_name="a tool", standalone_mode=False))
"""


@contextmanager
def started(*arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A tool, of which nothing is left at the end."""
    with log.open("wb") as output:
        tool = subprocess.Popen(
            [sys.executable, *map(str, arguments)], cwd=REPOSITORY, stdout=output, stderr=output
        )
    try:
        yield tool
    finally:
        for child in children_of(tool):
            child.kill()
        tool.kill()
        tool.wait()


def children_of(tool: subprocess.Popen[bytes]) -> list[psutil.Process]:
    try:
        return list(psutil.Process(tool.pid).children())
    except psutil.NoSuchProcess:
        return []


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", ["heeds", "stuck"])
def test_the_child_ends_when_its_parent_is_ended(
    tmp_path: Path, end: signal.Signals, how: str
) -> None:
    log = tmp_path / "log"
    with started("-c", TOOL, tmp_path, how, log=log) as tool:
        poll_for("the work", (tmp_path / "begun").exists)
        [child] = children_of(tool)
        try:
            tool.send_signal(end)

            code = tool.wait(DEADLINE_S)
            poll_for("the child's end", lambda: not lives(child))
        finally:
            if lives(child):
                child.kill()
    said = log.read_text()
    assert code == (-signal.SIGKILL if end == signal.SIGKILL else 130)
    if how == "heeds":
        assert said == "a tool: interrupted; so much is done\n"
    else:
        assert said == ("" if end == signal.SIGKILL else "a tool: interrupted\n")


def test_an_interrupt_of_the_whole_group_is_one(tmp_path: Path) -> None:
    """As of a terminal: parent and child both get it."""
    log = tmp_path / "log"
    with started("-c", TOOL, tmp_path, "heeds", log=log) as tool:
        poll_for("the work", (tmp_path / "begun").exists)
        [child] = children_of(tool)
        os.kill(child.pid, signal.SIGINT)
        tool.send_signal(signal.SIGINT)

        # The second where the signal finds it at its end: a shell says 130 of both.
        assert tool.wait(DEADLINE_S) in (130, -signal.SIGINT)
    assert log.read_text() == "a tool: interrupted; so much is done\n"


@pytest.mark.parametrize("end", ENDS)
def test_the_order_of_a_purge_that_is_ended_is_withdrawn_and_what_is_gone_is_said(
    tmp_path: Path, end: signal.Signals
) -> None:
    data, log, user = tmp_path / "data", tmp_path / "log", USERS[2]
    lay_out(data, 2)
    with cluster_on(data) as cluster:
        fill(cluster)
    worker = ShardMap(2).owner_of(user)
    relay = take_lock(data / "lock", wait_s=0)  # so a relay runs, and it is this test
    try:
        with started(
            "-m", "relay", "store", "purge", data, "--user", f"{user}@s.whatsapp.com", log=log
        ) as tool:
            poll_for("an order", lambda: bool(list(orders_in(data))))
            [child] = children_of(tool)
            [order] = orders_in(data)
            order.answer(worker, Answer(Purged(messages=3, size=30)))
            tool.send_signal(end)
            tool.wait(DEADLINE_S)
            poll_for("the child's end", lambda: not lives(child))
    finally:
        os.close(relay)
    assert not (data / "orders").exists()
    said = log.read_text()
    assert "Traceback" not in said
    assert said.startswith("relay store purge: interrupted; so far at least\n")
    assert "3 messages, 0 group messages (30 bytes) and 0 receipts are gone" in said


@pytest.mark.parametrize("end", ENDS)
def test_an_interrupted_backup_leaves_room_for_another(tmp_path: Path, end: signal.Signals) -> None:
    data, to, log = tmp_path / "data", tmp_path / "to", tmp_path / "log"
    lay_out(data, 1)
    layout = read_layout(data)
    program = (
        "import time, sys\n"
        "from workers.store.snapshot import Snapshot\n"
        "copy = Snapshot.copy\n"
        "Snapshot.copy = lambda *given: (copy(*given), time.sleep(60))\n"
        "from workers.tools.commandline import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    with started("-c", program, "backup", data, to, log=log) as tool:
        copied = layout.store_directory(to, 0) / "data.mdb"
        poll_for("a copy", copied.exists)
        [child] = children_of(tool)
        tool.send_signal(end)
        tool.wait(DEADLINE_S)
        poll_for("the child's end", lambda: not lives(child))
    assert log.read_text() == f"workers.store: interrupted; {to} holds no backup\n"
    assert not generation_directory(to, layout.generation).exists()
