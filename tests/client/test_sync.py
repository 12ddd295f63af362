"""The client for programs without a loop, against a scripted relay in another thread."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.client import Connected, Event, Level, Limits
from relay.client.errors import ClientClosed, Replaced, SendRefused, SendUnconfirmed
from relay.client.sync import SyncClient
from relay.errors import JidError
from tests.client.client_harness import ASHA, AT_ONCE, BEN, free_port
from tests.client.fake_relay import (
    DEADLINE_S,
    FakeRelay,
    Script,
    Session,
    ack,
    error,
    message,
    queue,
)


@contextmanager
def playing(*scripts: Script) -> Iterator[str]:
    """Play the scripts in a thread; yield the url. What they raise is raised at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    relay = FakeRelay(*scripts)

    def do(work: object) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(DEADLINE_S)  # type: ignore[arg-type]

    do(relay.__aenter__())
    try:
        yield relay.url
    finally:
        try:
            do(relay.__aexit__(None, None, None))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


async def stores(session: Session) -> None:
    """Store two messages."""
    await session.log_in()
    for _ in range(2):
        message_id, _ = await session.receive_send()
        await session.send(ack(message_id))


def test_a_send_returns_when_it_is_stored() -> None:
    with playing(stores) as url, SyncClient(url, ASHA) as client:
        assert client.send(BEN, "hi", id="A") == "A"
        assert client.send(BEN, {"imageMessage": {"url": "cat.jpg"}, "conversation": ""})
        assert client.online
        assert client.user == ASHA


def test_a_send_may_wait_until_it_is_read() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await session.send(ack(message_id), ack(message_id, 2), ack(message_id, Level.READ))

    with playing(script) as url, SyncClient(url, ASHA) as client:
        client.send(BEN, "hi", until="read")


def test_what_is_not_heard_in_time_is_told_with_all_that_is_known() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        await session.receive_send()
        message_id, _ = await session.receive_send()
        await session.send(ack(message_id))
        await session.wait_closed()

    with playing(script) as url, SyncClient(url, ASHA) as client:
        with pytest.raises(SendUnconfirmed, match=r"A not sent within 0\.05 s") as unconfirmed:
            client.send(BEN, "hi", id="A", timeout_s=0.05)
        assert (unconfirmed.value.id, unconfirmed.value.is_stored) == ("A", False)
        with pytest.raises(SendUnconfirmed, match=r"B not read within 0\.5 s") as unconfirmed:
            client.send(BEN, "hi", id="B", until="read", timeout_s=0.5)
        assert unconfirmed.value.is_stored


def test_a_relay_that_is_not_there_is_named() -> None:
    url = f"ws://127.0.0.1:{free_port()}/"
    with (
        SyncClient(url, ASHA, limits=AT_ONCE) as client,
        pytest.raises(SendUnconfirmed, match=f"no relay answers at {url}"),
    ):
        client.send(BEN, "hi", timeout_s=0.3)


def test_errors_reach_the_program() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await session.send(error(404, "unknown user", tag="action", id=message_id))
        await session.receive_send()
        await session.close(4409)

    with playing(script) as url, SyncClient(url, ASHA) as client:
        with pytest.raises(JidError):
            client.send("x@example.org", "hi")
        with pytest.raises(SendRefused, match="unknown user"):
            client.send(BEN, "hi")
        with pytest.raises(Replaced):
            client.send(BEN, "hi")
        with pytest.raises(Replaced):
            client.receive()
        assert isinstance(client.error, Replaced)


def test_messages_are_taken_as_the_loop_goes_on_and_it_ends_when_none_comes() -> None:
    acked: list[str] = []

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")))
        for _ in "AB":
            _, body = await session.receive()
            acked.append(body["id"])

    notices: list[Event] = []
    with playing(script) as url, SyncClient(url, ASHA, notice=notices.append) as client:
        ids = []
        for got in client.messages(timeout_s=0.5):
            ids.append(got.id)
            assert got.id not in acked
        assert ids == ["A", "B"]
    assert acked == ["A", "B"]
    assert notices == [Connected()]


def test_a_loop_that_is_left_has_not_taken_its_last_message() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")))
        _, body = await session.receive()
        assert (body["id"], body["ack"]) == ("A", 3)
        assert await session.wait_closed() == 1000

    with playing(script) as url, SyncClient(url, ASHA) as client:
        for _ in range(2):
            for got in client.messages():
                assert got.id == "A"
                break
        client.mark_read(got)
        assert next(client.messages()).id == "B"


def test_a_client_that_was_left_does_nothing_more() -> None:
    async def script(session: Session) -> None:
        await session.log_in()

    with playing(script) as url:
        with SyncClient(url, ASHA) as client:
            assert client.receive(timeout_s=0.1) is None
        for _ in range(2):
            client.close()
        with pytest.raises(ClientClosed):
            client.send(BEN, "hi")
        assert list(client.messages()) == []
        with pytest.raises(RuntimeError, match="once"):
            client.__enter__()
    assert not [each for each in threading.enumerate() if each.name.startswith("relay client")]


def test_a_notice_that_waits_for_its_client_is_told_so() -> None:
    async def script(session: Session) -> None:
        await session.log_in()

    def wait(_: Event) -> None:
        client.send(BEN, "hi")

    with (
        playing(script) as url,
        SyncClient(url, ASHA, notice=wait) as client,
        pytest.raises(RuntimeError, match="a notice must not wait"),
    ):
        client.receive()


def test_any_thread_may_send() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        for _ in range(8):
            message_id, _ = await session.receive_send()
            await session.send(ack(message_id))

    with playing(script) as url, SyncClient(url, ASHA, limits=Limits()) as client:
        threads = [threading.Thread(target=client.send, args=(BEN, f"{n}")) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


# -- in a process of its own ---------------------------------------------------------------------

PROGRAM = """
import os, sys
from relay.client.sync import SyncClient
with SyncClient(sys.argv[1], "917069852821") as client:
"""


def start(url: str, body: str) -> "subprocess.Popen[str]":
    text = PROGRAM + "".join(f"    {line}\n" for line in body.splitlines())
    return subprocess.Popen(
        [sys.executable, "-c", text, url],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "is_taken"),
    [
        ('client.send("919428284313", "hi", timeout_s=None)', False),
        ("for message in client.messages(): print(message.id, flush=True)", True),
    ],
)
def test_an_interrupt_ends_any_wait_and_closes_in_order(body: str, is_taken: bool) -> None:
    codes: list[int | None] = []
    frames: list[str] = []

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")) if is_taken else queue())
        frame = await session.receive()
        frames.append(frame[0])
        codes.append(await session.wait_closed())

    with playing(script) as url:
        program = start(url, body)
        deadline = time.monotonic() + DEADLINE_S
        while not frames and time.monotonic() < deadline:
            time.sleep(0.01)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=DEADLINE_S)

    assert program.returncode == -signal.SIGINT, err
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert codes == [1000]
    assert frames == (["Msg"] if is_taken else ["action"])
    # The first was acked as the second was asked for; that one may or may not be printed by then.
    assert out.split()[:1] == (["A"] if is_taken else [])


@pytest.mark.slow
def test_a_child_of_a_fork_has_no_client_and_does_its_parents_no_harm() -> None:
    body = """
child = os.fork()
if child == 0:
    try:
        client.send("919428284313", "from the child")
    except RuntimeError as error:
        print(error, flush=True)
        sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
print(client.send("919428284313", "still here", id="A"))
client.send("919428284313", "and here")
"""
    with playing(stores) as url:
        out, err = start(url, body).communicate(timeout=DEADLINE_S)

    assert out.splitlines() == ["a client does not outlive a fork: make one in the child", "7", "A"]
    assert err == ""
