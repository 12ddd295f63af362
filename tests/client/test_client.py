"""The asyncio client against a scripted relay: real sockets, no sleeps, every wait bounded."""

import asyncio
import inspect
import re
import textwrap
from typing import Any

import pytest
from websockets.exceptions import InvalidURI

from relay.client.client import Client
from relay.client.errors import ClientClosed, Replaced, SendRefused, SendUnconfirmed
from relay.client.events import (
    Accepted,
    Connected,
    Event,
    Level,
    Message,
    Receipt,
    Refused,
    SendFailed,
)
from relay.client.limits import Limits
from relay.errors import JidError
from tests.client.client_harness import ASHA, BEN, ids, next_of, run, until_replaced
from tests.client.fake_relay import AUTH_OK, FakeRelay, Session, ack, error, message, queue


def test_a_client_logs_in_takes_what_waited_in_pages_and_acks_it() -> None:
    acked = []

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")), queue(message("C")))
        await session.send(message("D"))
        for _ in "ABCD":
            tag, body = await session.receive()
            acked.append((tag, body["id"], body["ack"]))
        await session.close(4409)

    async def test() -> list[Event]:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            return [event async for event in until_replaced(client)]

    events = run(test())

    assert events[0] == Connected()
    assert ids(events) == ["A", "B", "C", "D"]
    assert acked == [("Msg", message_id, 2) for message_id in "ABCD"]


def test_a_message_is_acked_when_the_next_event_is_asked_for_and_not_before() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A")))
        sent_id, text = await session.receive_send()
        assert text == "still handling A", "no ack came before it"
        await session.send(ack(sent_id))
        _, body = await session.receive()
        assert (body["id"], body["ack"]) == ("A", 2)
        await session.close(4409)

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            async for event in until_replaced(client):
                if isinstance(event, Message):
                    await client.send(event.chat, "still handling A")

    run(test())


def test_send_returns_the_id_once_the_relay_has_it() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "hi"
        await session.send(ack(message_id), ack(message_id, 3))

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            message_id = await client.send("+91942828-4313@c.us".replace("-", ""), "hi")
            assert re.fullmatch(r"3EB0[0-9A-F]{16}", message_id)
            assert client.unacked == 0
            events = client.events()
            assert (await next_of(events, Accepted)).id == message_id
            receipt = await next_of(events, Receipt)
            assert (receipt.id, receipt.user, receipt.level) == (message_id, BEN, Level.READ)

    run(test())


def test_a_whole_message_object_and_an_id_of_ones_own_can_be_sent() -> None:
    body = {"imageMessage": {"url": "https://example.org/cat.jpg"}}

    async def script(session: Session) -> None:
        await session.log_in()
        _, _, [element] = await session.receive()
        assert element["message"] == body
        assert element["key"]["id"] == "CAT-1"
        await session.send(ack("CAT-1"))

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            assert await client.send(BEN, body, message_id="CAT-1") == "CAT-1"

    run(test())


def test_a_refused_send_raises_and_is_an_event() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await session.send(error(429, "slow down", tag="action", id=message_id, retryAfter=2))
        await session.send(error(400, "and another thing"))

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            with pytest.raises(SendRefused, match=r"slow down \(429\)") as refused:
                await client.send(BEN, "hi")
            assert refused.value.retryable
            assert refused.value.retry_after_s == 2
            events = client.events()
            assert (await next_of(events, SendFailed)).id == refused.value.message_id
            assert (await next_of(events, Refused)).reason == "and another thing"

    run(test())


def test_a_message_whose_handling_failed_comes_again() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")))
        for expected in (("A", 3), ("B", 3)):
            _, body = await session.receive()
            assert (body["id"], body["ack"]) == expected

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            async for event in client.events():
                if isinstance(event, Message):
                    break  # or an exception: not acked
            async for event in client.events():
                assert isinstance(event, Message)
                assert event.id == "A"
                await client.mark_read(event)  # takes it: the next loop starts behind it
                break
            async for event in client.events():
                assert isinstance(event, Message)
                assert event.id == "B"
                await client.mark_read(event)
                break

    run(test())


def test_played_is_a_receipt_too() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A")))
        _, body = await session.receive()
        assert body["ack"] == 4

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            await client.mark_played(await next_of(client.events(), Message))

    run(test())


def test_sending_from_the_loop_works_however_much_waits_behind_it() -> None:
    waiting = [message(f"{n}") for n in range(50)]

    async def script(session: Session) -> None:
        await session.log_in(*[queue(*waiting[i : i + 5]) for i in range(0, 50, 5)])
        left = {frame[2][0]["key"]["id"]: frame for frame in waiting}
        while left:
            match await session.receive():
                case ["action", _, [{"key": {"id": message_id}}]]:
                    await session.send(ack(message_id))
                case ["Msg", {"id": message_id}]:
                    left.pop(message_id, None)
                case ["auth", *_]:
                    await session.send(AUTH_OK, queue(*left.values()))
        await session.close(4409)

    async def test() -> list[Event]:
        events: list[Event] = []
        limits = Limits(held_messages=3)
        async with FakeRelay(script) as relay, Client(relay.url, ASHA, limits=limits) as client:
            async for event in until_replaced(client):
                events.append(event)
                if isinstance(event, Message):
                    await client.send(event.chat, f"got {event.id}")
        return events

    assert ids(run(test())) == [f"{n}" for n in range(50)]


def test_an_unconfirmed_send_can_be_awaited_further_by_its_id() -> None:
    release = asyncio.Event()

    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await release.wait()
        await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            with pytest.raises(SendUnconfirmed, match="not confirmed within 0 s") as unconfirmed:
                await client.send(BEN, "hi", timeout_s=0)
            message_id = unconfirmed.value.message_id
            release.set()
            assert await client.send(BEN, "hi", message_id=message_id) == message_id

    run(test())


def test_a_cancelled_send_still_goes_out() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "hi"
        await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            sending = asyncio.create_task(client.send(BEN, "hi"))
            while not client.unacked:
                await asyncio.sleep(0)
            sending.cancel()
            assert await next_of(client.events(), Accepted)
            with pytest.raises(asyncio.CancelledError):
                await sending

    run(test())


def test_sends_beyond_the_window_wait_and_keep_their_order() -> None:
    texts = []

    async def script(session: Session) -> None:
        await session.log_in()
        for _ in range(20):
            message_id, text = await session.receive_send()
            texts.append(text)
            await session.send(ack(message_id))

    async def test() -> None:
        limits = Limits(unacked_sends=2)
        async with FakeRelay(script) as relay, Client(relay.url, ASHA, limits=limits) as client:
            await asyncio.gather(*(client.send(BEN, f"{n}") for n in range(20)))

    run(test())
    assert texts == [f"{n}" for n in range(20)]


def test_unusable_arguments_are_refused_at_once() -> None:
    with pytest.raises(JidError):
        Client("ws://127.0.0.1:9011/", "917069852821@g.us")
    with pytest.raises(InvalidURI):
        Client("http://127.0.0.1:9011/", ASHA)

    async def test() -> None:
        async with FakeRelay() as relay:
            client = Client(relay.url, ASHA)
            with pytest.raises(ClientClosed):
                await client.send(BEN, "not entered yet")

    run(test())

    async def script(session: Session) -> None:
        await session.log_in()

    async def entered() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            await anext(client.events())
            with pytest.raises(JidError):
                await client.send("x@example.org", "hi")
            with pytest.raises(ValueError, match="empty"):
                await client.send(BEN, {})
            with pytest.raises(RuntimeError, match="once"):
                await client.__aenter__()

    run(entered())


def test_a_later_loop_takes_over_from_an_earlier_one() -> None:
    async def script(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            first = client.events()
            assert await anext(first) == Connected()
            waiting = asyncio.ensure_future(anext(first))
            await asyncio.sleep(0)
            client.events()
            with pytest.raises(RuntimeError, match="took over"):
                await waiting

    run(test())


def test_frames_that_make_no_sense_cost_nothing() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        await session.send(["action"], [], ["Msg", 7], ["what", "is", "this"], message("A"))

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            assert (await next_of(client.events(), Message)).id == "A"

    run(test())


def test_the_example_of_the_docstring_runs() -> None:
    documentation = inspect.getdoc(Client) or ""
    [example] = re.findall(
        r"::\n\n(    import asyncio\n.*?asyncio\.run\(main\(\)\))", documentation, re.S
    )
    source = textwrap.dedent(example).replace("asyncio.run(main())", "")
    assert len([line for line in source.splitlines() if line.strip()]) <= 10
    seen: list[Any] = []

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A", "hello", chat=f"{ASHA}@s.whatsapp.com")))
        while len(seen) < 2:
            frame = await session.receive()
            seen.append(frame)
            if frame[0] == "action":
                message_id = frame[2][0]["key"]["id"]
                answer = ack(message_id, to=f"{ASHA}@c.us")
                answer[1]["from"] = f"{BEN}@c.us"
                await session.send(answer)
        await session.close(4409)

    async def test() -> None:
        async with FakeRelay(script) as relay:
            names: dict[str, Any] = {}
            exec(source.replace("ws://127.0.0.1:9011/", relay.url), names)
            with pytest.raises(Replaced):
                await names["main"]()

    run(test())
    assert [frame[0] for frame in seen] == ["Msg", "action"]
    assert seen[1][2][0]["message"] == {"conversation": "You said: hello"}
