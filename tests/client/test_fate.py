"""What becomes of one message, by itself."""

import asyncio

import pytest

from relay.client.errors import ClientClosed, SendRefused
from relay.client.events import Failed, Level, Receipt, Sent
from relay.client.sending import Sending
from tests.client.client_harness import run

SENT = Sent("A", "919428284313", 1)
DELIVERED = Receipt("A", "919428284313", "919428284313", Level.DELIVERED, 2)
READ = Receipt("A", "919428284313", "919428284313", Level.READ, 3)


def test_each_wait_ends_with_its_event_whenever_it_began() -> None:
    async def test() -> None:
        sending = Sending("A")
        early = asyncio.ensure_future(sending.delivered)
        await asyncio.sleep(0)
        assert not sending.is_stored
        sending.happened(SENT)
        assert sending.is_stored
        assert await sending.sent == SENT
        assert not early.done()
        sending.happened(DELIVERED)
        assert await early == await sending.delivered == DELIVERED
        sending.happened(READ)
        assert await sending.read == READ
        assert await sending.delivered == DELIVERED

    run(test())


def test_read_is_delivered_too() -> None:
    async def test() -> None:
        sending = Sending("A")
        sending.happened(READ)
        sending.happened(DELIVERED)
        assert await sending.delivered == READ

    run(test())


def test_a_refusal_ends_every_wait_and_takes_nothing_back() -> None:
    async def test() -> None:
        sending = Sending("A")
        waiting = asyncio.ensure_future(sending.read)
        await asyncio.sleep(0)
        sending.happened(Failed("A", "919428284313", 404, "unknown group"))
        for each in (waiting, sending.sent):
            with pytest.raises(SendRefused, match="unknown group"):
                await each

    run(test())


def test_who_waits_for_more_than_came_hears_of_the_end() -> None:
    async def test() -> None:
        sending = Sending("A")
        sending.happened(SENT)
        sending.end(ClientClosed("left"))
        assert await sending.sent == SENT
        with pytest.raises(ClientClosed):
            await sending.delivered

    run(test())


def test_one_who_gives_up_waiting_ends_nobody_elses_wait() -> None:
    async def test() -> None:
        sending = Sending("A")
        waits = [asyncio.ensure_future(sending.sent) for _ in range(2)]
        await asyncio.sleep(0)
        waits[0].cancel()
        await asyncio.sleep(0)
        sending.happened(SENT)
        assert await waits[1] == SENT

    run(test())
