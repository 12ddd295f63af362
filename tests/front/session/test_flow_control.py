"""A client that does not read, and what its worker is told."""

from __future__ import annotations

from relay.bus.envelopes import (
    SessionOpened,
)
from tests import plain
from tests.front.session.harness import (
    NUMBER,
    Client,
    auth,
    last_page,
    live,
    message,
    page,
    receipt,
    seen,
)


def test_a_client_that_stops_reading_has_the_worker_pause(alice: Client) -> None:
    alice.hears(live(message(1)))
    alice.slows()
    assert alice.requests() == [plain.pause(NUMBER, 1)]
    alice.hears(live(message(2)), live(receipt(3)))
    assert alice.frames() == seen(message(1))
    assert alice.session.deliveries.written == 1

    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 1)]
    alice.hears(live(message(4)))
    assert alice.frames() == []

    alice.hears(page(message(2), receipt(3), message(4)), live(message(5)))
    assert alice.frames() == seen(message(2), receipt(3), message(4), message(5))
    assert alice.requests() == []


def test_a_page_for_a_client_that_does_not_read_is_the_last_for_now(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.requests()
    alice.slows()
    assert alice.requests() == []

    alice.hears(page(message(1), more=True))
    assert alice.frames() == seen(message(1))
    assert alice.requests() == []
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 2)]


def test_after_the_last_page_a_client_that_does_not_read_pauses_the_worker(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.slows()
    alice.requests()

    alice.hears(page(message(1)))
    assert alice.requests() == [plain.pause(NUMBER, 1)]
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 2)]


def test_the_queue_waits_for_a_client_that_does_not_read(client: Client) -> None:
    client.says(auth())
    client.hears(SessionOpened(NUMBER))
    client.requests()
    client.slows()
    client.hears(page(message(1), queue=True, more=True))
    assert client.requests() == []
    client.drains()
    assert client.requests() == [plain.ready(NUMBER, 1, 1)]

    client.slows()
    client.hears(last_page(message(2)))
    assert client.requests() == [plain.pause(NUMBER, 2)]
    client.drains()
    assert client.requests() == [plain.ready(NUMBER, 2, 2)]


def test_a_page_that_crossed_the_pause_needs_no_other(alice: Client) -> None:
    alice.slows()
    assert alice.requests() == [plain.pause(NUMBER, 0)]
    alice.hears(page(message(1)))
    assert alice.requests() == []
    alice.drains()
    assert alice.requests() == [plain.ready(NUMBER, 1, 2)]


def test_a_client_that_reads_on_before_its_page_came_asks_once(alice: Client) -> None:
    alice.slows()
    alice.drains()
    alice.slows()
    alice.drains()

    assert alice.requests() == [plain.pause(NUMBER, 0), plain.ready(NUMBER, 0, 1)]
