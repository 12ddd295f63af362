"""`Client` over TLS: it gets in where it trusts, and says in a few words why where it does not."""

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from relay.client.client import RelayClient
from relay.client.events import Connected, Disconnected
from relay.handshake import SILENT_END, tls_context
from relay.trust import Trust
from tests.client.client_harness import ASHA, BEN, next_of, run
from tests.client.fake_relay import DEADLINE_S, FakeRelay, Session, ack
from tests.outside.certificates import Authority, Certificate
from tests.outside.tlsends import LOOPBACK, ca_file, serving

Trusting = Callable[..., ssl.SSLContext]


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
def trusting(authority: Authority, tmp_path: Path) -> Trusting:
    def context(other: Authority | None = None, own: Certificate | None = None) -> ssl.SSLContext:
        shown = own.write(tmp_path, "own") if own else ("", "")
        trusted = ca_file(other or authority, tmp_path)
        certificate, key = map(str, shown)
        return tls_context(Trust(ca_file=str(trusted), certificate_file=certificate, key_file=key))

    return context


async def serves(session: Session) -> None:
    await session.log_in()
    message_id, _ = await session.receive_send()
    await session.send(ack(message_id, to=f"{BEN}@c.us"))


def reason_at(url: str, tls: ssl.SSLContext | None) -> Disconnected:
    async def body() -> Disconnected:
        async with RelayClient(url, ASHA, tls=tls) as client:
            return await next_of(client.events(), Disconnected)

    return run(body())


def refused(served: ssl.SSLContext | None, tls: ssl.SSLContext, *, host: str = "127.0.0.1") -> str:
    async def body() -> str:
        async with FakeRelay(tls=served) as relay:
            url = relay.url.replace("127.0.0.1", host).replace("ws:", "wss:")
            async with RelayClient(url, ASHA, tls=tls) as client:
                told = await next_of(client.events(), Disconnected)
        assert told.answered, "something is there: nobody is to be told to start a relay"
        before, _, why = told.reason.partition(f"no connection to {url}: ")
        assert not before, told.reason
        return why

    return run(body())


@pytest.mark.parametrize("wants_clients", [False, True])
def test_it_logs_in_and_sends_where_both_sides_trust(
    authority: Authority, trusting: Trusting, tmp_path: Path, wants_clients: bool
) -> None:
    served = serving(authority, tmp_path, wants_clients=wants_clients)
    tls = trusting(own=authority.issue("client") if wants_clients else None)

    async def body() -> None:
        async with (
            FakeRelay(serves, tls=served) as relay,
            RelayClient(relay.url, ASHA, tls=tls) as me,
        ):
            await next_of(me.events(), Connected)
            await me.send(BEN, "hi").sent

    run(body())


def test_an_authority_that_is_not_named_is_not_trusted(
    authority: Authority, tmp_path: Path
) -> None:
    why = refused(serving(authority, tmp_path), tls_context(Trust()))

    assert why == "its certificate comes from an authority that is not trusted here"


def test_a_named_authority_stands_in_place_of_the_others(
    authority: Authority, trusting: Trusting, tmp_path: Path
) -> None:
    """Also of the system's: what one names is the only one that is believed."""
    tls = trusting(Authority("another CA"))

    assert "is not trusted here" in refused(serving(authority, tmp_path), tls)
    assert tls.cert_store_stats()["x509_ca"] == 1


def test_a_certificate_of_another_host_is_told(
    authority: Authority, trusting: Trusting, tmp_path: Path
) -> None:
    served = serving(authority, tmp_path, authority.issue("127.0.0.1"))

    why = refused(served, trusting(), host="localhost")

    assert why == "its certificate is not for localhost"


@pytest.mark.parametrize(
    ("days", "told"),
    [
        ((-9, -2), "its certificate has expired"),
        ((2, 9), "its certificate is not yet valid"),
    ],
)
def test_a_certificate_of_another_day_is_told(
    authority: Authority, trusting: Trusting, tmp_path: Path, days: tuple[int, int], told: str
) -> None:
    begins, ends = (timedelta(days=day) for day in days)
    own = authority.issue(*LOOPBACK, begins=begins, ends=ends)

    assert refused(serving(authority, tmp_path, own), trusting()) == told


def test_a_relay_that_wants_a_certificate_and_says_nothing_is_told(
    authority: Authority, trusting: Trusting, tmp_path: Path
) -> None:
    served = serving(authority, tmp_path, wants_clients=True)

    assert refused(served, trusting()) == SILENT_END


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_says_that_it_wants_a_certificate_is_told(
    authority: Authority, trusting: Trusting, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    served = serving(authority, tmp_path, wants_clients=True)
    served.maximum_version = version

    with alerting(served) as url:
        told = reason_at(url, trusting())

    assert "wants a client certificate" in told.reason
    assert told.answered


def test_a_client_certificate_of_another_authority_is_told(
    authority: Authority, trusting: Trusting, tmp_path: Path
) -> None:
    served = serving(authority, tmp_path, wants_clients=True)
    strange = Authority("another CA").issue("strange")

    with alerting(served) as url:
        told = reason_at(url, trusting(own=strange))

    assert "it does not trust the authority of the client certificate" in told.reason


@contextmanager
def alerting(served: ssl.SSLContext) -> Iterator[str]:
    """Refuse one client as servers that are no asyncio's do: with the reason."""

    def refuse() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            tls = served.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            # What it has not read when it closes would turn the alert into a reset.
            with socket.socket(fileno=os.dup(tls.fileno())) as raw:
                with tls, suppress(ssl.SSLError):
                    tls.do_handshake()
                raw.settimeout(DEADLINE_S)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        thread = threading.Thread(target=refuse)
        thread.start()
        try:
            yield f"wss://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            thread.join()


def test_what_speaks_no_tls_is_told(trusting: Trusting) -> None:
    async def body() -> Disconnected:
        async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"wss://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            async with RelayClient(url, ASHA, tls=trusting()) as client:
                return await next_of(client.events(), Disconnected)

    told = run(body())

    assert "no TLS is spoken there; perhaps it is ws:// in place of wss://" in told.reason
    assert told.answered


def test_a_relay_without_tls_is_told(trusting: Trusting) -> None:
    assert refused(None, trusting()) == SILENT_END


def test_where_nobody_listens_it_is_told_as_ever(trusting: Trusting) -> None:
    told = reason_at("wss://127.0.0.1:1/", trusting())

    assert told.reason == "no relay answers at wss://127.0.0.1:1/ (connection refused)"
    assert not told.answered


def test_trust_without_tls_is_a_mistake_of_the_program(trusting: Trusting) -> None:
    with pytest.raises(ValueError, match="is not wss://"):
        RelayClient("ws://127.0.0.1:9011/", ASHA, tls=trusting())
