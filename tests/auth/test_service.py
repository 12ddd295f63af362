"""Mode "http": what an operator's endpoint answers, and what becomes of a login."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from relay.auth import service
from relay.auth.breaker import FAILURES
from relay.auth.contract import Credentials, Denied, Granted, Peer, Verdict
from relay.auth.service import MAX_ANSWER_BYTES, ServiceAuthenticator
from relay.errors import SettingsError
from relay.protocol.stanza import Token
from relay.settings.tables import HttpSettings
from tests.auth.endpoint import Answer, Endpoint, lets_in, served

Result = TypeVar("Result")
ALICE = "917069852821"
ANOTHER = "the login is of another user than remoteJid"
AWAY = "logins cannot be checked now, try again"


def mode_for(url: str, **more: Any) -> ServiceAuthenticator:
    return ServiceAuthenticator(HttpSettings(url=url, **more))


def check(mode: ServiceAuthenticator, token: str = "t") -> Coroutine[Any, Any, Verdict]:
    peer = Peer("10.0.0.7", {"Cookie": "a=b"})
    return mode.check(Credentials(ALICE, Token(token)), peer, now_s=time.time())


def run(mode: ServiceAuthenticator, work: Coroutine[Any, Any, Result]) -> Result:
    """Run `work`, close the mode, and leave nothing behind."""

    async def all_of_it() -> Result:
        try:
            return await work
        finally:
            await mode.close()
            await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
            await asyncio.sleep(0.01)  # transports close a turn later

    return asyncio.run(all_of_it())


def verdict_on(answer: Answer) -> Verdict:
    with Endpoint(lambda _: answer) as endpoint:
        mode = mode_for(endpoint.url)
        return run(mode, check(mode))


def test_it_is_told_who_wants_in_and_what_he_shows() -> None:
    with Endpoint(lets_in) as endpoint:
        mode = mode_for(endpoint.url)
        assert run(mode, check(mode)) == Granted()
        mode = mode_for(endpoint.url)
        nothing_shown = mode.check(Credentials(ALICE, None), Peer(), now_s=0)
        assert run(mode, nothing_shown) == Granted()

    assert endpoint.asked == [
        {"user": ALICE, "token": "t", "address": "10.0.0.7", "headers": {"Cookie": "a=b"}},
        {"user": ALICE, "token": None, "address": "", "headers": {}},
    ]


@pytest.mark.parametrize(
    ("status", "content", "verdict"),
    [
        (200, b'{"user": "+917069852821@c.us", "name": "Asha"}', Granted()),
        (200, b'{"user": "917069852821", "until": 4102444800}', Granted(4_102_444_800)),
        (
            200,
            b'{"user": "919428284313"}',
            Denied(401, "the login is of another user than remoteJid"),
        ),
        (401, b"", Denied(401, "the login was refused")),
        (401, b'{"user": "917069852821"}', Denied(401, "the login was refused")),
        (403, b"no", Denied(403, "this user may not log in")),
    ],
)
def test_what_it_answers_counts(status: int, content: bytes, verdict: Verdict) -> None:
    assert verdict_on((status, content)) == verdict


@pytest.mark.parametrize(
    "answer",
    [
        (200, b""),
        (200, b"ok"),
        (200, b"[]"),
        (200, b'{"user": 5}'),
        (200, b'{"user": "a b"}'),
        (200, b'{"user": "917069852821", "until": -1}'),
        (200, b'{"user": "917069852821", "until": "soon"}'),
        (200, b'{"user": "' + b"9" * MAX_ANSWER_BYTES + b'"}'),
        (200, b"[" * 60_000),
        (200, b'{"user": "917069852821", "more": ' + b"[" * 60_000),
        (201, b'{"user": "917069852821"}'),
        (204, b""),
        (302, b""),
        (404, b""),
        (429, b""),
        (500, b'{"user": "917069852821"}'),
    ],
)
def test_whatever_else_it_answers_lets_nobody_in(answer: Answer) -> None:
    assert verdict_on(answer) == Denied(503, AWAY, 1.0)


def test_where_nobody_answers_nobody_is_let_in() -> None:
    def cut(said: dict[str, Any]) -> Answer:
        raise ConnectionError

    with Endpoint(cut) as endpoint:
        mode = mode_for(endpoint.url)
        assert run(mode, check(mode)) == Denied(503, AWAY, 1.0)
    mode = mode_for(endpoint.url)
    assert run(mode, check(mode)) == Denied(503, AWAY, 1.0)  # it is gone by now


def test_one_that_is_slow_is_waited_for_only_so_long() -> None:
    async def work() -> Verdict:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with served(silent) as port:
            mode = mode_for(f"http://127.0.0.1:{port}/", timeout_s=0.2)
            try:
                return await check(mode)
            finally:
                await mode.close()

    assert asyncio.run(work()) == Denied(503, AWAY, 1.0)


def test_one_that_fails_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock_s = 1000.0
    monkeypatch.setattr(service, "monotonic", lambda: clock_s)
    answers = [(500, b"")] * FAILURES

    async def work(mode: ServiceAuthenticator) -> None:
        nonlocal clock_s
        for _ in range(FAILURES):
            assert isinstance(await check(mode), Denied)
        asked = len(endpoint.asked)
        assert await check(mode) == Denied(503, AWAY, 5.0)
        assert len(endpoint.asked) == asked == FAILURES

        clock_s += 5
        assert await check(mode) == Granted()
        assert await check(mode, "other") == Granted()

    with Endpoint(lambda said: answers.pop() if answers else lets_in(said)) as endpoint:
        mode = mode_for(endpoint.url)
        run(mode, work(mode))


def test_the_same_login_is_not_asked_about_again_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock_s = 1000.0
    monkeypatch.setattr(service, "monotonic", lambda: clock_s)

    async def work(mode: ServiceAuthenticator) -> None:
        nonlocal clock_s
        for _ in range(3):
            assert await check(mode) == Granted()
        assert len(endpoint.asked) == 1
        assert await check(mode, "another") == Granted()
        assert len(endpoint.asked) == 2
        clock_s += 10
        assert await check(mode) == Granted()
        assert len(endpoint.asked) == 3

    with Endpoint(lets_in) as endpoint:
        mode = mode_for(endpoint.url)
        run(mode, work(mode))


def test_a_bad_answer_is_never_kept() -> None:
    answers = [(401, b""), (403, b""), (500, b"")]

    async def work(mode: ServiceAuthenticator) -> list[int]:
        verdicts = [await check(mode) for _ in range(4)]
        return [verdict.code if isinstance(verdict, Denied) else 200 for verdict in verdicts]

    with Endpoint(lambda said: answers.pop(0) if answers else lets_in(said)) as endpoint:
        mode = mode_for(endpoint.url)
        assert run(mode, work(mode)) == [401, 403, 503, 200]


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_CACHED", 3)

    async def work(mode: ServiceAuthenticator) -> None:
        for number in range(10):
            await check(mode, str(number))
        assert len(mode._cache) == 3

    with Endpoint(lets_in) as endpoint:
        mode = mode_for(endpoint.url)
        run(mode, work(mode))


def test_only_so_many_are_asked_about_at_a_time_and_only_so_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MAX_WAITING", 6)
    most = 0

    async def work() -> list[Verdict]:
        under_way = 0

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal under_way, most
            await reader.readuntil(b"\r\n\r\n")
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.05)
            under_way -= 1
            content = b'{"user": "917069852821"}'
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (len(content), content)
            )
            await writer.drain()
            writer.close()

        async with served(slow) as port:
            mode = mode_for(f"http://127.0.0.1:{port}/", concurrency=2)
            try:
                return await asyncio.gather(*(check(mode, str(number)) for number in range(8)))
            finally:
                await mode.close()

    verdicts = asyncio.run(work())

    assert verdicts[:6] == [Granted()] * 6
    assert verdicts[6:] == [Denied(503, AWAY, 1.0)] * 2
    assert most == 2


def test_who_leaves_gives_up_its_place_and_not_what_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else those who come and go would keep all others out, or ask for more than is allowed."""
    monkeypatch.setattr(service, "MAX_WAITING", 6)
    asked = 0
    most = under_way = 0

    async def work() -> Verdict:
        may_answer = asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked, most, under_way
            await reader.readuntil(b"\r\n\r\n")
            asked, under_way = asked + 1, under_way + 1
            most = max(most, under_way)
            await may_answer.wait()
            under_way -= 1
            content = b'{"user": "917069852821"}'
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(content) + content)
            await writer.drain()
            writer.close()

        async with served(slow) as port:
            mode = mode_for(f"http://127.0.0.1:{port}/", concurrency=2)
            try:
                loop = asyncio.get_running_loop()
                leaving = [loop.create_task(check(mode, str(number))) for number in range(6)]
                while asked < 2:
                    await asyncio.sleep(0.005)
                assert isinstance(await check(mode, "full"), Denied)
                for each in leaving:
                    each.cancel()
                await asyncio.gather(*leaving, return_exceptions=True)
                staying = loop.create_task(check(mode, "stays"))
                await asyncio.sleep(0.05)
                assert asked == 2  # the endpoint still works on two
                may_answer.set()
                verdict = await staying
                assert asked == 3
                assert await check(mode, "0") == Granted()  # its answer was kept
                assert asked == 3
                return verdict
            finally:
                await mode.close()

    assert asyncio.run(asyncio.wait_for(work(), 20)) == Granted()
    assert most == 2


@pytest.mark.parametrize("url", ["ftp://id.example/", "id.example", "http://", "http://[::1"])
def test_what_is_no_url_refuses_the_start(url: str) -> None:
    with pytest.raises(SettingsError, match=r"auth_http\.url"):
        ServiceAuthenticator(HttpSettings(url=url))


def test_a_good_answer_whose_time_is_over_lets_nobody_in() -> None:
    """Its session would begin and be sent away at once."""
    content = f'{{"user": "{ALICE}", "until": {int(time.time()) - 1}}}'

    assert verdict_on((200, content.encode())) == Denied(401, "the login has expired")


def test_a_kept_answer_is_good_until_its_time_is_over() -> None:
    soon = int(time.time()) + 60
    content = f'{{"user": "{ALICE}", "until": {soon}}}'.encode()
    with Endpoint(lambda _: (200, content)) as endpoint:
        mode = mode_for(endpoint.url)

        async def twice() -> None:
            shown = Credentials(ALICE, Token("t"))
            assert await mode.check(shown, Peer(), now_s=time.time()) == Granted(soon)
            assert await mode.check(shown, Peer(), now_s=time.time()) == Granted(soon)
            assert len(endpoint.asked) == 1
            await mode.check(shown, Peer(), now_s=soon)
            assert len(endpoint.asked) == 2

        run(mode, twice())


BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n"


@pytest.mark.parametrize("said", [BEGUN, BEGUN + b"\r\n"])
def test_one_that_drips_is_waited_for_only_so_long(said: bytes) -> None:
    """Each byte comes in time, and the whole never does."""

    async def work() -> Verdict:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(said)
            with contextlib.suppress(OSError):
                while not reader.at_eof():
                    writer.write(b"X")
                    await writer.drain()
                    await reader.read(1)
                    await asyncio.sleep(0.05)
            writer.close()

        async with served(drip) as port:
            mode = mode_for(f"http://127.0.0.1:{port}/", timeout_s=0.3)
            try:
                return await check(mode)
            finally:
                await mode.close()

    began_s = time.monotonic()
    assert asyncio.run(work()) == Denied(503, AWAY, 1.0)
    assert time.monotonic() - began_s < 10


def test_what_was_kept_of_a_user_lets_no_other_in_by_the_same_token() -> None:
    with Endpoint(lambda said: lets_in({"user": ALICE})) as endpoint:
        mode = mode_for(endpoint.url)

        async def work() -> list[Verdict]:
            shown, now_s = Token("t"), time.time()
            return [
                await mode.check(Credentials(user, shown), Peer(address), now_s=now_s)
                for user, address in [(ALICE, "a"), ("919428284313", "a"), (ALICE, "b")]
            ]

        assert run(mode, work()) == [Granted(), Denied(401, ANOTHER), Granted()]

    assert len(endpoint.asked) == 3  # another address is another question
