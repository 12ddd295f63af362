"""Logging in, being refused, being thrown out, and coming back."""

import pytest

from relay.client.errors import ClientFault, LoginRefused, Replaced
from relay.client.events import Connected, Disconnected, Message, Receipt
from tests.client.fake_relay import ack, message, queue
from tests.client.protocol_harness import Harness


def test_the_first_frame_is_the_sheets_auth_and_nothing_follows_before_its_answer() -> None:
    harness = Harness("+917069852821:3@c.us")
    harness.submit("A")
    harness.protocol.connection_opened(harness.now)

    assert harness.written() == [
        ["auth", {"type": "new"}, {"remoteJid": "917069852821@s.whatsapp.com"}]
    ]
    assert not harness.protocol.online


def test_nothing_is_written_without_a_connection() -> None:
    harness = Harness()
    harness.submit("A")

    assert harness.written() == []


def test_login_gives_connected_and_then_what_waited_in_order() -> None:
    events = Harness().log_in(queue(message("A"), message("B"), ack("C", 2)))

    assert [type(event) for event in events] == [Connected, Message, Message, Receipt]
    assert [event.id for event in events if isinstance(event, Message)] == ["A", "B"]


def test_several_queue_frames_are_read_one_after_the_other() -> None:
    events = Harness().log_in(
        queue(message("A")), queue(message("B"), message("C")), queue(message("D"))
    )

    assert [event.id for event in events if isinstance(event, Message)] == ["A", "B", "C", "D"]


def test_an_empty_queue_gives_nothing_but_connected() -> None:
    assert Harness().log_in(["q", {"data": "[[]]", "from": "backend"}]) == [Connected()]


@pytest.mark.parametrize("code", [400, 401, 403, 405, 409])
def test_a_refused_login_is_final(code: int) -> None:
    harness = Harness()
    harness.protocol.connection_opened(harness.now)
    harness.receive(["auth", {"status": "failure", "code": code, "reason": "no such token"}])
    assert harness.protocol.connection_useless
    assert not harness.protocol.online

    assert harness.lose() == []

    assert isinstance(harness.protocol.failure, LoginRefused)
    assert harness.protocol.failure.code == code
    assert str(harness.protocol.failure) == f"login refused: no such token ({code})"


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_login_refused_for_now_is_tried_again_after_the_time_the_relay_named(code: int) -> None:
    harness = Harness()
    harness.protocol.connection_opened(harness.now)
    reply = {"status": "failure", "code": code, "reason": "busy", "retryAfter": 7}
    harness.receive(["auth", reply])

    [lost] = harness.lose()

    assert harness.protocol.failure is None
    assert lost == Disconnected(None, f"login refused: busy ({code})", 7.0)
    assert harness.protocol.retry_in == 7.0


def test_a_pause_beyond_reason_is_cut() -> None:
    harness = Harness()
    harness.log_in()
    harness.receive(["Cmd", {"type": "disconnect", "kind": "shutdown", "retryAfter": 1e9}])

    harness.lose(1012)

    assert harness.protocol.retry_in == 300.0


def test_a_shutdown_notice_names_the_pause() -> None:
    harness = Harness()
    harness.log_in()
    harness.receive(["Cmd", {"type": "disconnect", "kind": "shutdown", "retryAfter": 3}])

    assert harness.lose(1012, "restart") == [Disconnected(1012, "restart", 3.0)]
    harness.log_in()
    harness.lose()
    assert harness.protocol.retry_in < 3.0, "it counts for one reconnect only"


def test_close_4401_is_final() -> None:
    harness = Harness()
    harness.protocol.connection_opened(harness.now)

    harness.lose(4401, "no login in time")

    assert isinstance(harness.protocol.failure, LoginRefused)
    assert harness.protocol.failure.code == 4401


def test_being_replaced_is_final(client: Harness) -> None:
    client.lose(4409, "replaced")

    assert isinstance(client.protocol.failure, Replaced)


def test_being_replaced_is_final_even_when_the_close_code_gets_lost(client: Harness) -> None:
    client.receive(["Cmd", {"type": "disconnect", "kind": "replaced"}])

    client.lose()

    assert isinstance(client.protocol.failure, Replaced)


@pytest.mark.parametrize("code", [None, 1000, 1001, 1009, 1011, 1012, 1013, 4429])
def test_every_other_end_leads_to_a_reconnect(client: Harness, code: int | None) -> None:
    [lost] = client.lose(code, "why")

    assert lost == Disconnected(code, "why", 0.0)
    assert client.protocol.failure is None
    assert client.log_in() == [Connected()]


@pytest.mark.parametrize("code", [1002, 1007, 1008])
def test_a_close_that_blames_the_client_is_final(client: Harness, code: int) -> None:
    assert client.lose(code, "why") == []

    assert isinstance(client.protocol.failure, ClientFault)
    assert str(client.protocol.failure) == f"closed with {code}: why"


def test_pauses_grow_up_to_the_limit_and_shrink_after_a_login_that_held() -> None:
    harness = Harness(reconnect_min_s=1.0, reconnect_max_s=10.0)
    pauses = []
    for _ in range(6):
        harness.lose(jitter=0.5)
        pauses.append(harness.protocol.retry_in)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]

    harness.log_in()
    harness.up += 1
    harness.lose(jitter=0.5)
    assert harness.protocol.retry_in == 5.0, "a login that was lost at once is no success"

    harness.log_in()
    harness.up += 60
    harness.lose(jitter=0.5)
    assert harness.protocol.retry_in == 0.5
