"""The connection of the client: made again, given up, and closed, against a scripted relay."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

import relay.client.line
from relay.client.client import RelayClient
from relay.client.errors import ClientClosed, LoginRefused, Replaced
from relay.client.events import Connected, Disconnected, Event, Message, Receipt, Sent
from relay.client.limits import Limits
from relay.client.tokens import TokenRequest
from tests.client.client_harness import (
    ASHA,
    AT_ONCE,
    BEN,
    free_port,
    ids,
    next_of,
    run,
    until_replaced,
)
from tests.client.fake_relay import AUTH_OK, FakeRelay, Session, ack, message, queue


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
            RelayClient(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            message_id = (await client.send(BEN, "hi").sent).id
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
            RelayClient(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            return [event async for event in until_replaced(client)]

    assert ids(run(test())) == ["A", "B"]
    assert [body["id"] for _, body in acks] == ["A", "A", "B"]


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
            RelayClient(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            sending = client.send(BEN, "hi")
            with pytest.raises(kind):
                await anext(client.events())
            with pytest.raises(kind):
                await sending.sent
            with pytest.raises(kind):
                client.send(BEN, "hi")
            with pytest.raises(kind):
                await anext(client.events())
            assert relay.connections == 1

    run(test())


def test_a_client_waits_for_a_relay_that_is_not_there_yet() -> None:
    async def test() -> None:
        url = f"ws://127.0.0.1:{free_port()}/"
        async with RelayClient(url, ASHA, limits=AT_ONCE) as client:
            events = client.events()
            for _ in range(2):
                lost = await anext(events)
                assert lost == Disconnected(
                    None, f"no relay answers at {url} (connection refused)", 0.0, answered=False
                )
                assert not client.online

    run(test())


@asynccontextmanager
async def answering(head: bytes) -> AsyncIterator[str]:
    """Yield the url of a server that answers each handshake so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + b"Content-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def test_a_server_that_is_no_relay_is_told_in_words() -> None:
    async def test() -> None:
        async with (
            answering(b"HTTP/1.1 404 Not Found\r\n") as url,
            RelayClient(url, ASHA) as client,
        ):
            lost = await next_of(client.events(), Disconnected)
            assert lost.reason == f"what answers at {url} is no relay (HTTP 404)"
            assert lost.answered

    run(test())


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "when", "retry_in"),
    [
        (b"Retry-After: 7\r\n", "in 7 s", 7.0),
        (b"Retry-After: 7\r\nRetry-After: 8\r\n", "in 7 s", 7.0),
        (b"Retry-After: Fri, 07 Nov 2026 23:59:59 GMT\r\n", "later", 0.0),
        (b"", "later", 0.0),
    ],
)
def test_a_client_that_is_turned_away_is_told_so_and_comes_again_when_it_may(
    status: int, header: bytes, when: str, retry_in: float
) -> None:
    async def test() -> None:
        head = b"HTTP/1.1 %d No\r\n%s" % (status, header)
        async with answering(head) as url, RelayClient(url, ASHA, limits=AT_ONCE) as client:
            lost = await next_of(client.events(), Disconnected)
            why = f"the relay at {url} turns this client away (HTTP {status}); try again {when}"
            assert lost == Disconnected(None, why, retry_in)

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
            async with RelayClient(url, ASHA, limits=Limits(login_s=0.05)) as client:
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
            RelayClient(relay.url, ASHA, limits=AT_ONCE) as client,
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
    monkeypatch.setattr(relay.client.line, "_MAX_INBOUND_FRAME", 1000)

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
            RelayClient(relay.url, ASHA, limits=AT_ONCE) as client,
        ):
            await client.send(BEN, "hi").sent
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
            async with RelayClient(relay.url, ASHA) as client:
                event = await next_of(client.events(), Message)
                client.mark_read(event)
            with pytest.raises(ClientClosed):
                client.send(BEN, "too late")
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
        async with FakeRelay(script) as relay:
            client = RelayClient(relay.url, ASHA)
            async with client:
                events = client.events()
                assert await anext(events) == Connected()
                listening = asyncio.ensure_future(anext(events, None))
                sending = client.send(BEN, "hi")
                waiting = [asyncio.ensure_future(sending.sent), asyncio.ensure_future(sending.read)]
                await client.close()
                assert await listening is None
                ends = await asyncio.gather(*waiting, return_exceptions=True)
                assert [type(end) for end in ends] == [ClientClosed] * 2

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
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            assert await anext(client.events()) == Connected()

    run(test())


def test_a_bug_of_the_client_reaches_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> list[Event]:
        raise ZeroDivisionError

    monkeypatch.setattr("relay.client.protocol.ClientProtocol.receive", broken)

    async def script(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        async with FakeRelay(script) as relay, RelayClient(relay.url, ASHA) as client:
            with pytest.raises(ExceptionGroup) as raised:
                await anext(client.events())
            assert raised.group_contains(ZeroDivisionError)

    run(test())


def test_a_client_that_is_only_told_things_shows_that_it_lives() -> None:
    """Its receipts are confirmed by that (R7); else they would come at every login."""
    texts: list[str | bytes] = []

    async def script(session: Session) -> None:
        await session.log_in()
        for _ in range(3):
            texts.append(await session.receive_text())
            await session.send_text("!1566970629123")
        await session.send(ack("A", 2))
        await session.close(4409)

    async def test() -> list[Event]:
        limits = msgspec.structs.replace(AT_ONCE, keepalive_s=0.01)
        async with (
            FakeRelay(script) as relay,
            RelayClient(relay.url, ASHA, limits=limits) as client,
        ):
            return [event async for event in until_replaced(client)]

    assert any(isinstance(event, Receipt) for event in run(test()))
    assert texts == ["?,,"] * 3


def test_a_receipt_is_confirmed_by_a_text_of_its_own() -> None:
    """Not a keepalive later: a program that leaves soon would get it again (R7)."""
    times: list[float] = []

    async def script(session: Session) -> None:
        await session.log_in()
        times.append(time.monotonic())
        await session.send(ack("A", 2))
        assert await session.receive_text() == "?,,"
        times.append(time.monotonic())
        await session.close(4409)

    async def test() -> None:
        limits = msgspec.structs.replace(AT_ONCE, confirm_s=0.1)
        async with (
            FakeRelay(script) as relay,
            RelayClient(relay.url, ASHA, limits=limits) as client,
        ):
            with pytest.raises(Replaced):
                async for _ in client.events():
                    pass

    run(test())
    assert 0.1 <= times[1] - times[0] < 5


def test_a_relay_without_a_sign_of_life_is_left_and_tried_again() -> None:
    async def mute(session: Session) -> None:
        await session.log_in()
        await session.wait_closed()

    async def rest(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        limits = msgspec.structs.replace(AT_ONCE, keepalive_s=0.05, answer_s=0.05)
        async with (
            FakeRelay(mute, *[rest] * 100) as relay,
            RelayClient(relay.url, ASHA, limits=limits) as client,
        ):
            events = client.events()
            lost = await next_of(events, Disconnected)
            assert (lost.code, lost.reason) == (None, "no sign of life from the relay")
            assert client.lost == lost
            assert await next_of(events, Connected)
            assert client.lost is None

    run(test())


def test_a_token_is_fetched_for_each_login_and_trouble_with_it_is_told() -> None:
    asked: list[TokenRequest] = []

    async def token(request: TokenRequest) -> str:
        asked.append(request)
        if len(asked) == 1:
            raise OSError("the service is away")
        return f"token-{len(asked)}"

    async def script(session: Session) -> None:
        _, _, who = await session.receive()
        assert who["token"] == "token-2"
        await session.send(AUTH_OK, queue())
        await session.receive_text()
        await session.close(4401)

    async def again(session: Session) -> None:
        _, _, who = await session.receive()
        assert who["token"] == "token-3"
        await session.send(["auth", {"status": "failure", "code": 401, "reason": "expired"}])

    async def test() -> None:
        async with (
            FakeRelay(script, again) as relay,
            RelayClient(relay.url, ASHA, token=token, limits=AT_ONCE) as client,
        ):
            events = client.events()
            lost = await next_of(events, Disconnected)
            assert lost.reason == "no token: the service is away"
            assert await next_of(events, Connected)
            with pytest.raises(LoginRefused, match="expired"):
                await next_of(events, Message)

    run(test())
    assert [each.renew for each in asked] == [False, False, True]


def jwt(left_s: float, name: str) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + left_s}).encode())
    return f"{name}.{claims.rstrip(b'=').decode()}.sign"


def test_a_token_is_renewed_before_it_expires_by_the_clock_of_the_relay() -> None:
    shown: list[str] = []
    tokens = [jwt(3600 + 1.2, "first"), jwt(36000, "second")]

    async def script(session: Session) -> None:
        _, _, who = await session.receive()
        shown.append(who["token"])
        await session.send(AUTH_OK, queue())
        assert await session.receive_text() == "?,,", "which asks for the relay's clock"
        await session.send_text(f"!{int((time.time() + 3600) * 1000)}")
        _, _, who = await session.receive()
        shown.append(who["token"])
        await session.send(AUTH_OK, queue())
        assert await session.receive_text() == "?,,"
        message_id, _ = await session.receive_send()
        await session.send(ack(message_id))

    async def test() -> list[Event]:
        events: list[Event] = []
        async with (
            FakeRelay(script) as relay,
            RelayClient(relay.url, ASHA, token=lambda _: tokens[min(len(shown), 1)]) as client,
        ):
            stream = client.events()
            events.append(await anext(stream))
            while len(shown) < 2:
                await asyncio.sleep(0.01)
            await client.send(BEN, "still the same session").sent
            events.append(await anext(stream))
        return events

    events = run(test())
    assert shown == tokens
    assert [type(event) for event in events] == [Connected, Sent]


def test_a_client_that_is_not_logged_in_says_nothing() -> None:
    async def script(session: Session) -> None:
        await session.receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await session.receive_text()
        await session.close(4401)

    async def test() -> None:
        limits = msgspec.structs.replace(AT_ONCE, keepalive_s=0.01)
        async with (
            FakeRelay(script) as relay,
            RelayClient(relay.url, ASHA, limits=limits) as client,
        ):
            with pytest.raises(LoginRefused):
                await anext(client.events())

    run(test())
