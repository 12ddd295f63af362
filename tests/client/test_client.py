"""The asyncio client against a scripted relay: real sockets, no sleeps, every wait bounded."""

import asyncio
import inspect
import re
import socket
import textwrap
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import pytest
from websockets.exceptions import InvalidURI

import relay.client.client
from relay.client.client import Client, EventStream
from relay.client.errors import (
    ClientClosed,
    LoginRefused,
    Replaced,
    SendRefused,
    SendUnconfirmed,
)
from relay.client.events import (
    Accepted,
    Connected,
    Disconnected,
    Event,
    Level,
    Message,
    Receipt,
    Refused,
    SendFailed,
)
from relay.client.limits import Limits
from relay.errors import JidError
from tests.client.fake_relay import (
    AUTH_OK,
    DEADLINE_S,
    FakeRelay,
    Session,
    ack,
    error,
    message,
    queue,
)

ASHA, BEN = "917069852821", "919428284313"
AT_ONCE = Limits(reconnect_min_s=0.0, reconnect_max_s=0.0)

T = TypeVar("T")


def run(test: Awaitable[T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(test, DEADLINE_S)

    return asyncio.run(bounded())


async def next_of(events: EventStream, kind: type[T]) -> T:
    """Return the next event of that kind."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"the events ended without a {kind.__name__}")


async def until_replaced(client: Client) -> AsyncIterator[Event]:
    """Yield every event; a script ends the loop with close 4409."""
    try:
        async for event in client.events():
            yield event
    except Replaced:
        return


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events if isinstance(event, Message)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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


def test_a_send_whose_connection_breaks_before_ack_1_goes_out_again_with_its_id() -> None:
    seen: list[Any] = []

    async def first(session: Session) -> None:
        await session.log_in()
        seen.append(await session.receive())
        await session.drop()

    async def second(session: Session) -> None:
        await session.log_in()
        seen.append(await session.receive())
        await session.send(ack(seen[1][2][0]["key"]["id"]))

    async def test() -> None:
        async with (
            FakeRelay(first, second) as relay,
            Client(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            message_id = await client.send(BEN, "hi")
            assert seen[0] == seen[1]
            assert seen[0][2][0]["key"]["id"] == message_id
            events = client.events()
            assert await next_of(events, Connected)
            lost = await next_of(events, Disconnected)
            assert (lost.code, lost.reason) == (None, "connection lost")
            assert await next_of(events, Connected)
            assert relay.connections == 2

    run(test())


def test_a_redelivered_message_is_given_once_and_acked_again() -> None:
    acks = []

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A")))
        acks.append(await session.receive())
        await session.drop()

    async def again(session: Session) -> None:
        await session.log_in(queue(message("A"), message("B")))
        acks.append(await session.receive())
        acks.append(await session.receive())
        await session.close(4409)

    async def test() -> list[Event]:
        async with (
            FakeRelay(script, again) as relay,
            Client(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            return [event async for event in until_replaced(client)]

    assert ids(run(test())) == ["A", "B"]
    assert [body["id"] for _, body in acks] == ["A", "A", "B"]


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


@pytest.mark.parametrize(
    ("close_code", "kind"), [(None, LoginRefused), (4401, LoginRefused), (4409, Replaced)]
)
def test_a_login_that_cannot_succeed_ends_the_client(
    close_code: int | None, kind: type[Exception]
) -> None:
    async def script(session: Session) -> None:
        await session.receive()
        if close_code is None:
            await session.send(["auth", {"status": "failure", "code": 401, "reason": "no token"}])
        else:
            await session.close(close_code)
        await session.wait_closed()

    async def test() -> None:
        async with (
            FakeRelay(script) as relay,
            Client(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            sending = asyncio.create_task(client.send(BEN, "hi"))
            with pytest.raises(kind):
                await anext(client.events())
            with pytest.raises(kind):
                await sending
            with pytest.raises(kind):
                await client.submit(BEN, "hi")
            with pytest.raises(kind):
                await anext(client.events())
            assert relay.connections == 1

    run(test())


def test_a_client_waits_for_a_relay_that_is_not_there_yet() -> None:
    async def test() -> None:
        url = f"ws://127.0.0.1:{free_port()}/"
        async with Client(url, ASHA, limits=AT_ONCE) as client:
            events = client.events()
            for _ in range(2):
                lost = await anext(events)
                assert lost == Disconnected(
                    None, f"no relay answers at {url} (connection refused)", 0.0
                )
                assert not client.online

    run(test())


def test_a_server_that_is_no_relay_is_told_in_words() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async def test() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with Client(url, ASHA) as client:
                lost = await next_of(client.events(), Disconnected)
                assert "HTTP 404" in lost.reason

    run(test())


@pytest.mark.parametrize("accepts", [False, True])
def test_a_relay_that_does_not_answer_is_left_and_tried_again(accepts: bool) -> None:
    async def never_answers(session: Session) -> None:
        await session.receive()
        await session.wait_closed()

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def test() -> None:
        async with (
            FakeRelay(*[never_answers] * 100) as relay,
            await asyncio.start_server(hangs, "127.0.0.1", 0) as server,
        ):
            mute = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            url = relay.url if accepts else mute
            async with Client(url, ASHA, login_timeout_s=0.05) as client:
                lost = await next_of(client.events(), Disconnected)
                assert "answer" in lost.reason

    run(test())


def test_the_close_code_and_reason_of_the_relay_are_given() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        await session.close(1012, "restart")

    async def silent(session: Session) -> None:
        await session.log_in()
        await session.close(1013)

    async def rest(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        async with (
            FakeRelay(script, silent, rest) as relay,
            Client(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            events = client.events()
            assert await next_of(events, Disconnected) == Disconnected(1012, "restart", 0.0)
            assert await next_of(events, Disconnected) == Disconnected(
                1013, "closed by the relay (1013)", 0.0
            )
            assert await next_of(events, Connected)

    run(test())


def test_a_frame_too_big_from_the_relay_is_not_held_against_a_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay.client.client, "_MAX_INBOUND_FRAME", 1000)

    async def script(session: Session) -> None:
        await session.log_in()
        await session.receive_send()
        await session.send(message("A", "x" * 2000))

    async def again(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await session.send(ack(message_id))

    async def test() -> None:
        async with (
            FakeRelay(script, again) as relay,
            Client(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            await client.send(BEN, "hi")
            lost = await next_of(client.events(), Disconnected)
            assert lost.code is None

    run(test())


def test_leaving_the_block_writes_what_is_due_and_closes_in_order() -> None:
    codes = []

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A")))
        _, body = await session.receive()
        assert (body["id"], body["ack"]) == ("A", 3)
        codes.append(await session.wait_closed())

    async def test() -> None:
        async with FakeRelay(script) as relay:
            async with Client(relay.url, ASHA) as client:
                event = await next_of(client.events(), Message)
                await client.mark_read(event)
            with pytest.raises(ClientClosed):
                await client.send(BEN, "too late")
            with pytest.raises(StopAsyncIteration):
                await anext(client.events())
            await client.close()

    run(test())
    assert codes == [1000]


def test_closing_ends_the_loop_and_every_wait() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        await session.receive_send()

    async def test() -> None:
        limits = Limits(unacked_sends=1)
        async with FakeRelay(script) as relay:
            client = Client(relay.url, ASHA, limits=limits)
            async with client:
                events = client.events()
                assert await anext(events) == Connected()
                listening = asyncio.ensure_future(anext(events, None))
                waiting = [asyncio.create_task(client.send(BEN, f"{n}")) for n in range(3)]
                while not client.unacked:
                    await asyncio.sleep(0)
                await client.close()
                assert await listening is None
                ends = await asyncio.gather(*waiting, return_exceptions=True)
                assert [type(end) for end in ends] == [ClientClosed] * 3

    run(test())


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


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "ws_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)

    async def script(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            assert await anext(client.events()) == Connected()

    run(test())


def test_a_bug_of_the_client_reaches_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> list[Event]:
        raise ZeroDivisionError

    monkeypatch.setattr("relay.client.protocol.ClientProtocol.receive", broken)

    async def script(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        async with FakeRelay(script) as relay, Client(relay.url, ASHA) as client:
            with pytest.raises(ExceptionGroup) as raised:
                await anext(client.events())
            assert raised.group_contains(ZeroDivisionError)

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
