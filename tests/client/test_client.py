"""The asyncio client against a scripted relay: real sockets, no sleeps, every wait bounded."""

import asyncio
import inspect
import re
import textwrap
from typing import Any

import pytest
from websockets.exceptions import InvalidURI

from relay.client.client import RelayClient
from relay.client.errors import ClientClosed, OutboxFull, Replaced, SendRefused
from relay.client.events import (
    Connected,
    Delayed,
    Event,
    Failed,
    Level,
    Message,
    Receipt,
    Refused,
    Sent,
)
from relay.client.limits import Limits
from relay.errors import JidError
from tests.client.client_harness import ASHA, AT_ONCE, BEN, ids, next_of, run, until_replaced
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
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
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
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            async for event in until_replaced(client):
                if isinstance(event, Message):
                    await client.send(event.chat, "still handling A").sent

    run(test())


def test_a_sending_tells_how_far_a_message_got() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "hi"
        await session.send(ack(message_id), ack(message_id, 3))

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            sending = client.send("+91942828-4313@c.us".replace("-", ""), "hi")
            message_id = sending.id
            stored = await sending.sent
            assert re.fullmatch(r"3EB0[0-9A-F]{20}", message_id)
            assert client.waiting == []
            assert (await sending.read) == (await sending.delivered)
            events = client.events()
            assert await next_of(events, Sent) == stored
            receipt = await next_of(events, Receipt)
            assert receipt == await sending.read
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
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            assert (await client.send(BEN, body, id="CAT-1").sent).id == "CAT-1"

    run(test())


def test_a_refused_send_raises_and_is_an_event() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await session.send(error(507, "full", tag="action", id=message_id, retryAfter=2))
        await session.send(error(400, "and another thing"))

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            with pytest.raises(SendRefused, match=r"full \(507\)") as refused:
                await client.send(BEN, "hi").sent
            assert refused.value.retryable
            assert refused.value.retry_after == 2
            events = client.events()
            assert (await next_of(events, Failed)).id == refused.value.id
            assert (await next_of(events, Refused)).reason == "and another thing"

    run(test())


def test_a_message_whose_handling_failed_comes_again() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")))
        for expected in (("A", 3), ("B", 3)):
            _, body = await session.receive()
            assert (body["id"], body["ack"]) == expected

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            async for event in client.events():
                if isinstance(event, Message):
                    break  # or an exception: not acked
            async for event in client.events():
                assert isinstance(event, Message)
                assert event.id == "A"
                client.mark_read(event)  # takes it: the next loop starts behind it
                break
            async for event in client.events():
                assert isinstance(event, Message)
                assert event.id == "B"
                client.mark_read(event)
                break

    run(test())


def test_played_is_a_receipt_too() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A")))
        _, body = await session.receive()
        assert body["ack"] == 4

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            client.mark_played(await next_of(client.events(), Message))

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
        async with (
            FakeRelay(script) as relay,
            RelayClient(relay.url, ASHA, limits=limits) as client,
        ):
            async for event in until_replaced(client):
                events.append(event)
                if isinstance(event, Message):
                    await client.send(event.chat, f"got {event.id}").sent
        return events

    assert ids(run(test())) == [f"{n}" for n in range(50)]


def test_a_wait_that_is_given_up_can_be_taken_up_by_the_id() -> None:
    release = asyncio.Event()

    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await release.wait()
        await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            sending = client.send(BEN, "hi")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await sending.sent
            assert [each.id for each in client.waiting] == [sending.id]
            release.set()
            assert (await client.send(BEN, "hi", id=sending.id).sent).id == sending.id
            assert (await sending.sent).id == sending.id

    run(test())


def test_a_send_whose_wait_is_cancelled_still_goes_out() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "hi"
        await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            waiting = asyncio.ensure_future(client.send(BEN, "hi").sent)
            await asyncio.sleep(0)
            waiting.cancel()
            assert await next_of(client.events(), Sent)
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(test())


def test_a_send_beyond_the_bound_is_refused_and_a_repeat_is_not() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        for _ in range(3):
            message_id, _ = await session.receive_send()
            await session.send(ack(message_id))

    async def test() -> None:
        limits = Limits(unacked_sends=2)
        async with (
            FakeRelay(script) as relay,
            RelayClient(relay.url, ASHA, limits=limits) as client,
        ):
            first, second = client.send(BEN, "1"), client.send(BEN, "2")
            with pytest.raises(OutboxFull, match="2 messages wait for their ack 1"):
                client.send(BEN, "3")
            assert client.send(BEN, "2", id=second.id) is second
            await first.sent
            await client.send(BEN, "3").sent

    run(test())


def test_a_message_that_the_relay_cannot_take_now_is_sent_again_by_itself() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        other, _ = await session.receive_send()
        await session.send(error(503, "renewed", tag="action", id=message_id, retryAfter=0.05))
        await session.send(ack(other, to="919354513536@c.us"))
        assert await session.receive_send() == (message_id, "hi")
        assert (await session.receive_send())[1] == "and"
        await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            events = client.events()
            sending = client.send(BEN, "hi")
            client.send("919354513536", "hi")
            delayed = await next_of(events, Delayed)
            assert (delayed.id, delayed.code) == (sending.id, 503)
            client.send(BEN, "and")
            await sending.sent

    run(test())


def test_with_manual_acks_nothing_is_acked_before_it_is_marked() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")))
        for expected in (("B", 2), ("A", 3)):
            _, body = await session.receive()
            assert (body["id"], body["ack"]) == expected
        await session.drop()

    async def again(session: Session) -> None:
        await session.log_in(queue(message("A"), message("C")))
        _, body = await session.receive()
        assert (body["id"], body["ack"]) == ("A", 3), "C was shown, and is not acked"
        await session.close(4409)

    async def test() -> list[str]:
        taken: list[Message] = []
        async with (
            FakeRelay(script, again) as relay,
            RelayClient(relay.url, ASHA, ack="manual", limits=AT_ONCE) as client,
        ):
            async for event in until_replaced(client):
                if isinstance(event, Message):
                    taken.append(event)
                    if event.id == "B":
                        client.mark_delivered(event)
                        client.mark_read(taken[0])
        return ids(list(taken))

    assert run(test()) == ["A", "B", "C"]


def test_unusable_arguments_are_refused_at_once() -> None:
    with pytest.raises(JidError):
        RelayClient("ws://127.0.0.1:9011/", "917069852821@g.us")
    with pytest.raises(InvalidURI):
        RelayClient("http://127.0.0.1:9011/", ASHA)

    async def test() -> None:
        async with FakeRelay() as relay:
            client = RelayClient(relay.url, ASHA)
            with pytest.raises(ClientClosed):
                client.send(BEN, "not entered yet")

    run(test())

    async def script(session: Session) -> None:
        await session.log_in()

    async def entered() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            await anext(client.events())
            with pytest.raises(JidError):
                client.send("x@example.org", "hi")
            with pytest.raises(ValueError, match="empty"):
                client.send(BEN, {})
            with pytest.raises(RuntimeError, match="once"):
                client.connect()

    run(entered())


def test_a_later_loop_takes_over_from_an_earlier_one() -> None:
    async def script(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
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
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            assert (await next_of(client.events(), Message)).id == "A"

    run(test())


def test_the_example_of_the_docstring_runs() -> None:
    documentation = inspect.getdoc(RelayClient) or ""
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
