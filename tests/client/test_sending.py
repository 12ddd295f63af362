"""Sends: until ack 1 or an error, over any number of connections."""

from typing import Any

import pytest

from relay.client.errors import SendRefused
from relay.client.events import Delayed, Disconnected, Failed, Refused, Sent
from relay.errors import JidError
from tests.client.fake_relay import ack, error
from tests.client.protocol_harness import BEN, CARL, GROUP, NOW_S, Harness


def test_a_send_to_a_user_is_the_sheets_action(client: Harness) -> None:
    client.submit("3EB0A1ED1B05362823BC", "919428284313@c.us", "message")

    assert client.written() == [
        [
            "action",
            {"add": "relay"},
            [
                {
                    "message": {"conversation": "message"},
                    "key": {
                        "remoteJid": "919428284313@s.whatsapp.com",
                        "fromMe": True,
                        "id": "3EB0A1ED1B05362823BC",
                    },
                    "messageTimestamp": str(NOW_S),
                }
            ],
        ]
    ]


def test_a_send_to_a_group_names_the_group(client: Harness) -> None:
    client.submit("A", GROUP)

    [[_, _, [element]]] = client.written()
    assert element["key"]["remoteJid"] == GROUP


def test_ack_1_ends_a_send_once(client: Harness) -> None:
    client.submit("A")
    client.written()

    assert client.receive(ack("A"), ack("A")) == [Sent("A", BEN, 1566970629)]
    assert client.protocol.unacked == 0


def test_ack_1_of_a_group_send_is_recognised_though_it_comes_as_msg(client: Harness) -> None:
    client.submit("A", GROUP)
    body = {"id": "A", "ack": 1, "cmd": "ack", "to": GROUP, "t": 1, "from": "917069852821"}

    assert client.receive(["Msg", body]) == [Sent("A", GROUP, 1)]


def test_ack_1_for_another_chat_is_not_this_sends(client: Harness) -> None:
    client.submit("A", CARL)

    assert client.receive(ack("A")) == []
    assert client.protocol.is_unacked("A")


def test_unacked_sends_go_out_again_in_order_after_a_reconnect(client: Harness) -> None:
    for message_id in "ABC":
        client.submit(message_id)
    first = client.written()
    client.receive(ack("B"))
    client.lose()
    client.submit("D")

    client.log_in()

    again = client.written()
    assert again[:2] == [first[0], first[2]], "the same frames, bit for bit"
    assert [frame[2][0]["key"]["id"] for frame in again] == ["A", "C", "D"]


def test_a_frame_that_was_not_written_stays_the_next_one(client: Harness) -> None:
    client.submit("A")
    frame = client.protocol.next_frame(client.now)

    assert client.protocol.next_frame(client.now) == frame
    client.protocol.frame_sent()
    assert client.protocol.next_frame(client.now) is None
    client.protocol.frame_sent()


def test_an_error_with_its_id_ends_a_send(client: Harness) -> None:
    client.submit("A")
    client.written()

    events = client.receive(error(404, "unknown group", tag="action", id="A"))

    assert events == [Failed("A", BEN, 404, "unknown group", None)]
    client.lose()
    client.log_in()
    assert client.written() == []


@pytest.mark.parametrize("code", [507, 400, 403, 404, 406, 409, 413])
def test_a_failure_says_whether_the_same_id_may_be_sent_again(client: Harness, code: int) -> None:
    client.submit("A")

    [failed] = client.receive(error(code, "why", tag="action", id="A", retryAfter=2.5))

    assert isinstance(failed, Failed)
    assert failed.retryable == (code == 507)
    refused = SendRefused(failed)
    assert (refused.id, refused.code, refused.retry_after) == ("A", code, 2.5)
    assert str(refused) == f"send refused: why ({code})"
    client.submit("A")
    assert client.protocol.is_unacked("A")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_the_relay_cannot_take_now_is_told_and_sent_again(client: Harness, code: int) -> None:
    client.submit("A")
    [frame] = client.written()

    [delayed] = client.receive(error(code, "why", tag="action", id="A", retryAfter=2.5))

    assert delayed == Delayed("A", BEN, code, "why", 2.5)
    assert client.protocol.outbox.due_at == 2.5
    assert client.written() == []
    client.up = 2.5
    assert client.written() == [frame]


@pytest.mark.parametrize("more", [{"id": "B"}, {}, {"id": "A", "tag": "Msg"}])
def test_an_error_about_no_send_is_reported_and_ends_none(
    client: Harness, more: dict[str, str]
) -> None:
    client.submit("A")

    [event] = client.receive(error(400, "malformed", **more))

    assert event == Refused(400, "malformed", more.get("tag", ""), more.get("id", ""))
    assert client.protocol.is_unacked("A")


def test_a_relay_that_closes_for_size_costs_the_largest_send_only(client: Harness) -> None:
    for message_id, text in (("A", "hi"), ("B", "x" * 1000), ("C", "hi")):
        client.submit(message_id, text=text)
    client.written()

    failed, lost = client.lose(1009, "too big")

    assert failed == Failed("B", BEN, 413, "frame too big for this relay")
    assert isinstance(lost, Disconnected)
    client.log_in()
    assert [frame[2][0]["key"]["id"] for frame in client.written()] == ["A", "C"]


def test_repeating_a_send_under_way_changes_nothing(client: Harness) -> None:
    client.submit("A")
    client.submit("A")

    assert len(client.written()) == 1
    with pytest.raises(ValueError, match="under way with another message"):
        client.submit("A", text="something else")
    with pytest.raises(ValueError, match="under way with another message"):
        client.submit("A", CARL)


def _nested(levels: int) -> dict[str, Any]:
    body: dict[str, Any] = {"text": "core"}
    for _ in range(levels - 1):
        body = {"list": [body]} if levels % 2 else {"in": body}
    return body


@pytest.mark.parametrize(
    ("body", "message_id", "reason"),
    [
        ({}, "A", "empty"),
        ({"conversation": "x"}, "", "1 to 128"),
        ({"conversation": "x"}, "x" * 129, "1 to 128"),
        ({"conversation": "x"}, "a\nb", "control"),
        ({"conversation": "\ud800"}, "A", "no Unicode"),
        ({"conversation": "x"}, "\ud800", "no Unicode"),
        ({"conversation": "x" * 262144}, "A", r"frame of \d+ bytes exceeds frame_bytes=262144"),
        ({"conversation": "é" * 131072}, "A", r"frame of \d+ bytes exceeds"),
        (_nested(30), "A", "33 nested levels exceeds 32"),
    ],
)
def test_what_no_relay_would_take_is_refused_at_once(
    client: Harness, body: dict[str, Any], message_id: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        client.protocol.submit(BEN, body, message_id, client.now)

    assert client.protocol.unacked == 0
    assert client.written() == []


def test_the_deepest_message_a_relay_takes_is_taken(client: Harness) -> None:
    client.protocol.submit(BEN, _nested(28), "A", client.now)

    assert client.protocol.is_unacked("A")


def test_a_send_to_nobody_is_refused(client: Harness) -> None:
    with pytest.raises(JidError):
        client.submit("A", "919428284313@example.org")


def test_there_is_room_for_so_many_unacked_sends() -> None:
    harness = Harness(unacked_sends=2)
    harness.log_in()
    harness.submit("A")
    assert harness.protocol.has_room
    harness.submit("B")
    assert not harness.protocol.has_room

    harness.receive(ack("A"))

    assert harness.protocol.has_room
