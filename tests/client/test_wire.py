"""The frames of a client as text: what is read in each, and what is written."""

import json
from typing import Any

import pytest

from relay.client.errors import Unreadable
from relay.client.events import Level, Message
from relay.client.wire import (
    AuthReply,
    CloseNotice,
    DeliveredFrames,
    ErrorReport,
    QueueFrame,
    ReceiptAck,
    RelayFrame,
    SignOfLife,
    StoredAck,
    ack_frame,
    auth_frame,
    chat_name,
    read,
    send_frame,
)
from tests.client.fake_relay import AUTH_OK, ack, error, message, queue
from tests.client.protocol_harness import ASHA, BEN, CARL, GROUP, NOW_S

T = 1566970629


@pytest.mark.parametrize(
    ("frame", "means"),
    [
        (AUTH_OK, AuthReply("success")),
        (
            ["auth", {"status": "failure", "code": 503, "reason": "busy", "retryAfter": 7}],
            AuthReply("failure", 503, "busy", 7.0),
        ),
        (ack("A"), StoredAck("A", ASHA, BEN, T)),
        (ack("A", 2), ReceiptAck("A", ASHA, BEN, BEN, Level.DELIVERED, T)),
        (
            ack("A", 3, to=GROUP, by=f"{CARL}@c.us"),
            ReceiptAck("A", ASHA, GROUP, CARL, Level.READ, T),
        ),
        (error(404, "unknown", id="A", tag="action"), ErrorReport(404, "unknown", "action", "A")),
        (["Cmd", {"type": "disconnect", "kind": "replaced"}], CloseNotice("replaced")),
        (["Presence", {"id": "x"}], None),
        (ack("A", 5), None),
    ],
)
def test_each_frame_of_the_relay_has_one_meaning(frame: Any, means: RelayFrame | None) -> None:
    assert read(json.dumps(frame)) == means
    assert read(json.dumps(frame).encode()) == means


def test_an_action_holds_messages_without_copies_of_own_sends() -> None:
    own, bad = message("OWN"), message("BAD")
    own[2][0]["key"]["fromMe"] = True
    del bad[2][0]["message"]
    elements = message("A", "hi")[2] + own[2] + bad[2] + message("B")[2]

    actions = read(json.dumps(["action", {"add": "relay"}, elements]))

    assert isinstance(actions, DeliveredFrames)
    assert actions.unreadable == 1
    assert [delivery.message.id for delivery in actions.deliveries] == ["A", "B"]
    first = actions.deliveries[0]
    assert first.message == Message("A", BEN, BEN, {"conversation": "hi"}, T)
    assert first.size == len(json.dumps(elements[0]))


def test_a_queue_holds_frames_that_are_read_one_by_one() -> None:
    waited = read(json.dumps(queue(message("A"), ack("B", 2))))

    assert isinstance(waited, QueueFrame)
    kinds = [type(read(entry)) for entry in waited.entries]
    assert kinds == [DeliveredFrames, ReceiptAck]


@pytest.mark.parametrize("frame", ["", "[]", "{}", '["q"]', '["Msg",{}]', b'["\xff"]', "[" * 99999])
def test_a_frame_that_makes_no_sense_is_unreadable(frame: str | bytes) -> None:
    with pytest.raises(Unreadable):
        read(frame)


def test_what_is_written_is_the_sheets() -> None:
    login = ["auth", {"type": "new"}, {"remoteJid": f"{ASHA}@s.whatsapp.com"}]
    assert json.loads(auth_frame(ASHA)) == login
    tag, how, [element] = json.loads(
        send_frame(GROUP, {"conversation": "hi"}, "A", now_s=NOW_S, max_bytes=1000)
    )
    assert (tag, how) == ("action", {"add": "relay"})
    assert element["key"] == {"remoteJid": GROUP, "fromMe": True, "id": "A"}
    tag, body = json.loads(ack_frame(ASHA, (BEN, BEN, "A"), Level.READ, t=5))
    assert (tag, body["from"], body["to"]) == ("Msg", f"{BEN}@c.us", f"{ASHA}@c.us")
    tag, body = json.loads(ack_frame(ASHA, (GROUP, BEN, "A"), Level.READ, t=5))
    assert (tag, body["from"], body["to"]) == ("MsgInfo", f"{BEN}@c.us", GROUP)
    assert (body["participant"], body["ack"], body["t"]) == (f"{ASHA}@c.us", 3, "5")


def test_a_frame_of_exactly_the_limit_is_written() -> None:
    body = {"conversation": "é"}
    size = len(send_frame(BEN, body, "A", now_s=NOW_S, max_bytes=1000).encode())

    assert send_frame(BEN, body, "A", now_s=NOW_S, max_bytes=size)
    with pytest.raises(ValueError, match=f"frame of {size} bytes exceeds frame_bytes={size - 1}"):
        send_frame(BEN, body, "A", now_s=NOW_S, max_bytes=size - 1)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (BEN, BEN),
        ("+919428284313:4@S.WhatsApp.NET", BEN),
        ("917069852821-1566557065@G.US", GROUP),
    ],
)
def test_a_chat_has_one_name(text: str, name: str) -> None:
    assert chat_name(text) == name


def test_the_answer_to_a_keepalive_is_no_frame_and_no_fault() -> None:
    assert read("!1566970629123") == SignOfLife(1566970629.123)
    for other in ("!", "!x", "!1\n", "?,,"):
        with pytest.raises(Unreadable):
            read(other)
