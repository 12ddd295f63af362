"""The client's bookkeeping, without a socket: every frame a relay may send, every loss between."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.client.errors import LoginRefused, Replaced, SendRefused
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
from relay.client.login import reconnect_delay_s
from relay.client.protocol import ClientProtocol
from relay.client.wire import chat_name, new_message_id
from relay.errors import JidError
from tests.client.fake_relay import AUTH_OK, ack, error, message, queue

ASHA, BEN, CARL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065@g.us"
NOW_S = 1_566_970_700


class Harness:
    """A `ClientProtocol` with the clock set and frames as Python values."""

    def __init__(self, user: str = ASHA, **limits: Any) -> None:
        self.protocol = ClientProtocol(user, limits=Limits(**limits))
        self.uptime_s = 0.0

    def receive(self, *frames: Any) -> list[Event]:
        events = []
        for frame in frames:
            events += self.protocol.receive(json.dumps(frame), now_s=NOW_S)
        return events

    def written(self) -> list[Any]:
        """Write everything that is due; return it."""
        frames = []
        while (frame := self.protocol.next_frame()) is not None:
            self.protocol.frame_sent()
            frames.append(json.loads(frame))
        return frames

    def log_in(self, *frames: Any) -> list[Event]:
        self.protocol.connection_opened(uptime_s=self.uptime_s)
        assert self.protocol.next_frame() is not None
        self.protocol.frame_sent()
        return self.receive(AUTH_OK, *(frames or (queue(),)))

    def lose(self, code: int | None = None, reason: str = "") -> list[Event]:
        return self.protocol.connection_lost(code, reason, uptime_s=self.uptime_s, jitter=0.0)

    def submit(self, message_id: str, to: str = BEN, text: str = "hi") -> None:
        self.protocol.submit(to, {"conversation": text}, message_id, now_s=NOW_S)

    def take(self) -> list[Event]:
        """Take every event as an application does: the next one acks the one before."""
        events = []
        while (event := self.protocol.next_event()) is not None:
            events.append(event)
            if isinstance(event, Message):
                self.protocol.acknowledge(event, Level.DELIVERED, now_s=NOW_S)
        return events

    def taken_ids(self) -> list[str]:
        return [event.id for event in self.take() if isinstance(event, Message)]


@pytest.fixture
def client() -> Harness:
    """A client that is logged in and has nothing to do."""
    harness = Harness()
    harness.log_in()
    harness.take()
    return harness


# -- logging in ----------------------------------------------------------------------------------


def test_the_first_frame_is_the_sheets_auth_and_nothing_follows_before_its_answer() -> None:
    harness = Harness("+917069852821:3@c.us")
    harness.submit("A")
    harness.protocol.connection_opened(uptime_s=0)

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
    harness.protocol.connection_opened(uptime_s=0)
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
    harness.protocol.connection_opened(uptime_s=0)
    reply = {"status": "failure", "code": code, "reason": "busy", "retryAfter": 7}
    harness.receive(["auth", reply])

    [lost] = harness.lose()

    assert harness.protocol.failure is None
    assert lost == Disconnected(None, f"login refused: busy ({code})", 7.0)
    assert harness.protocol.retry_in_s == 7.0


def test_a_pause_beyond_reason_is_cut() -> None:
    harness = Harness()
    harness.log_in()
    harness.receive(["Cmd", {"type": "disconnect", "kind": "shutdown", "retryAfter": 1e9}])

    harness.lose(1012)

    assert harness.protocol.retry_in_s == 300.0


def test_a_shutdown_notice_names_the_pause() -> None:
    harness = Harness()
    harness.log_in()
    harness.receive(["Cmd", {"type": "disconnect", "kind": "shutdown", "retryAfter": 3}])

    assert harness.lose(1012, "restart") == [Disconnected(1012, "restart", 3.0)]
    harness.log_in()
    harness.lose()
    assert harness.protocol.retry_in_s < 3.0, "it counts for one reconnect only"


def test_close_4401_is_final() -> None:
    harness = Harness()
    harness.protocol.connection_opened(uptime_s=0)

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


@pytest.mark.parametrize("code", [None, 1000, 1001, 1008, 1009, 1011, 1012, 1013, 4429])
def test_every_other_end_leads_to_a_reconnect(client: Harness, code: int | None) -> None:
    [lost] = client.lose(code, "why")

    assert lost == Disconnected(code, "why", 0.25)
    assert client.protocol.failure is None
    assert client.log_in() == [Connected()]


def test_pauses_grow_up_to_the_limit_and_shrink_after_a_login_that_held() -> None:
    harness = Harness(reconnect_min_s=1.0, reconnect_max_s=10.0)
    pauses = []
    for _ in range(6):
        harness.lose()
        pauses.append(harness.protocol.retry_in_s)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]

    harness.log_in()
    harness.uptime_s += 1
    harness.lose()
    assert harness.protocol.retry_in_s == 5.0, "a login that was lost at once is no success"

    harness.log_in()
    harness.uptime_s += 60
    harness.lose()
    assert harness.protocol.retry_in_s == 0.5


def test_jitter_spreads_a_pause_over_its_upper_half() -> None:
    limits = Limits(reconnect_min_s=1.0, reconnect_max_s=8.0)

    assert reconnect_delay_s(2, limits, 0.0) == 2.0
    assert reconnect_delay_s(2, limits, 0.5) == 3.0
    assert reconnect_delay_s(10_000, limits, 1.0) == 8.0


# -- sending -------------------------------------------------------------------------------------


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

    assert client.receive(ack("A"), ack("A")) == [Accepted("A", BEN, 1566970629)]
    assert client.protocol.unacked == 0


def test_ack_1_of_a_group_send_is_recognised_though_it_comes_as_msg(client: Harness) -> None:
    client.submit("A", GROUP)
    body = {"id": "A", "ack": 1, "cmd": "ack", "to": GROUP, "t": 1, "from": "917069852821"}

    assert client.receive(["Msg", body]) == [Accepted("A", GROUP, 1)]


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
    frame = client.protocol.next_frame()

    assert client.protocol.next_frame() == frame
    client.protocol.frame_sent()
    assert client.protocol.next_frame() is None
    client.protocol.frame_sent()


def test_an_error_with_its_id_ends_a_send(client: Harness) -> None:
    client.submit("A")
    client.written()

    events = client.receive(error(404, "unknown group", tag="action", id="A"))

    assert events == [SendFailed("A", BEN, 404, "unknown group", None)]
    client.lose()
    client.log_in()
    assert client.written() == []


@pytest.mark.parametrize("code", [429, 500, 503, 507, 400, 403, 404, 406, 409, 413])
def test_a_failure_says_whether_the_same_id_may_be_sent_again(client: Harness, code: int) -> None:
    client.submit("A")

    [failed] = client.receive(error(code, "why", tag="action", id="A", retryAfter=2.5))

    assert isinstance(failed, SendFailed)
    assert failed.retryable == (code in (429, 500, 503, 507))
    refused = SendRefused(failed)
    assert (refused.message_id, refused.code, refused.retry_after_s) == ("A", code, 2.5)
    assert str(refused) == f"send refused: why ({code})"
    client.submit("A")
    assert client.protocol.is_unacked("A")


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

    assert failed == SendFailed("B", BEN, 413, "frame too big for this relay")
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
        client.protocol.submit(BEN, body, message_id, now_s=NOW_S)

    assert client.protocol.unacked == 0
    assert client.written() == []


def test_the_deepest_message_a_relay_takes_is_taken(client: Harness) -> None:
    client.protocol.submit(BEN, _nested(28), "A", now_s=NOW_S)

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


def test_ids_look_like_the_sheets_and_differ() -> None:
    ids = {new_message_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(len(i) == 20 and i.startswith("3EB0") and i == i.upper() for i in ids)


# -- receiving -----------------------------------------------------------------------------------


def test_a_message_of_a_user(client: Harness) -> None:
    [event] = client.receive(message("A", "Test msg"))

    assert event == Message("A", BEN, BEN, {"conversation": "Test msg"}, 1566970629)
    assert isinstance(event, Message)
    assert event.text == "Test msg"
    assert not event.is_group


def test_a_message_of_a_group(client: Harness) -> None:
    [event] = client.receive(message("A", chat=GROUP, by="919428284313@s.whatsapp.net"))

    assert isinstance(event, Message)
    assert (event.chat, event.sender, event.is_group) == (GROUP, BEN, True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"conversation": "a"}, "a"),
        ({"extendedTextMessage": {"text": "b"}}, "b"),
        ({"extendedTextMessage": {"text": 7}}, ""),
        ({"extendedTextMessage": "b"}, ""),
        ({"conversation": 7}, ""),
        ({"imageMessage": {}}, ""),
    ],
)
def test_the_text_of_a_message(body: dict[str, Any], text: str) -> None:
    assert Message("A", BEN, BEN, body, 0).text == text


def test_a_message_is_acked_only_when_it_was_taken(client: Harness) -> None:
    client.receive(message("A"))
    event = client.protocol.next_event()
    assert client.written() == []
    assert client.protocol.next_event() == event, "it stays the next one until then"
    assert isinstance(event, Message)

    client.protocol.acknowledge(event, Level.DELIVERED, now_s=NOW_S)

    assert client.written() == [
        [
            "Msg",
            {
                "id": "A",
                "ack": 2,
                "cmd": "ack",
                "to": "917069852821@c.us",
                "t": str(NOW_S),
                "from": "919428284313@c.us",
            },
        ]
    ]
    assert client.protocol.next_event() is None


def test_a_group_message_is_acked_with_msginfo(client: Harness) -> None:
    client.receive(message("A", chat=GROUP, by="919428284313@s.whatsapp.net"))
    client.take()

    assert client.written() == [
        [
            "MsgInfo",
            {
                "from": "919428284313@c.us",
                "ack": 2,
                "cmd": "ack",
                "to": GROUP,
                "participant": "917069852821@c.us",
                "id": "A",
                "t": str(NOW_S),
            },
        ]
    ]


def test_read_may_follow_or_replace_delivered_and_never_goes_back(client: Harness) -> None:
    client.receive(message("A"), message("B"))
    a, b = (m for m in client.take() if isinstance(m, Message))
    client.protocol.acknowledge(b, Level.READ, now_s=NOW_S)
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("A", 2), ("B", 3)]

    client.protocol.acknowledge(a, Level.READ, now_s=NOW_S)
    client.protocol.acknowledge(a, Level.READ, now_s=NOW_S)
    client.protocol.acknowledge(b, Level.DELIVERED, now_s=NOW_S)
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("A", 3)]

    client.protocol.acknowledge(b, Level.PLAYED, now_s=NOW_S)
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("B", 4)]


def test_an_ack_that_rises_while_it_is_written_is_written_again(client: Harness) -> None:
    client.receive(message("A"))
    [event] = client.take()
    assert isinstance(event, Message)
    assert client.protocol.next_frame() is not None
    client.protocol.acknowledge(event, Level.READ, now_s=NOW_S)
    client.protocol.frame_sent()

    assert [frame[1]["ack"] for frame in client.written()] == [3]


def test_a_message_that_comes_again_is_given_once_and_acked_again(client: Harness) -> None:
    client.receive(message("A"))
    client.take()
    client.written()

    assert client.receive(message("A")) == []

    assert client.take() == []
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("A", 2)]


def test_a_message_that_was_read_is_acked_as_read_when_it_comes_again(client: Harness) -> None:
    client.receive(message("A"))
    event = client.protocol.next_event()
    assert isinstance(event, Message)
    client.protocol.acknowledge(event, Level.READ, now_s=NOW_S)
    client.written()

    client.receive(message("A"))

    assert [frame[1]["ack"] for frame in client.written()] == [3]


def test_a_message_that_comes_again_before_it_was_taken_is_not_acked(client: Harness) -> None:
    client.receive(message("A"), message("A"))

    assert client.written() == []
    assert client.taken_ids() == ["A"]


def test_messages_differ_by_chat_participant_and_id(client: Harness) -> None:
    client.receive(
        message("A"),
        message("A", chat=f"{CARL}@s.whatsapp.com"),
        message("A", chat=GROUP, by=f"{BEN}@s.whatsapp.net"),
        message("A", chat=GROUP, by=f"{CARL}@s.whatsapp.net"),
    )

    assert client.taken_ids() == ["A"] * 4
    assert len(client.written()) == 4


def test_an_ack_whose_writing_was_cut_off_is_written_by_the_next_connection(
    client: Harness,
) -> None:
    client.receive(message("A"))
    client.take()
    assert client.protocol.next_frame() is not None
    client.lose()
    client.protocol.frame_sent()

    client.log_in()

    assert [frame[1]["id"] for frame in client.written()] == ["A"]


def test_acks_wait_for_a_connection(client: Harness) -> None:
    client.receive(message("A"))
    client.lose()
    client.take()

    client.log_in()

    assert [frame[1]["id"] for frame in client.written()] == ["A"]


def test_a_message_taken_while_away_is_acked_once_and_not_given_again(client: Harness) -> None:
    client.receive(message("A"))
    client.lose()
    assert client.taken_ids() == ["A"]

    client.log_in(queue(message("A")))

    assert client.taken_ids() == []
    assert [frame[1]["id"] for frame in client.written()] == ["A"]


def test_own_copies_are_skipped(client: Harness) -> None:
    frame = message("A")
    frame[2][0]["key"]["fromMe"] = True

    assert client.receive(frame) == []


# -- receipts ------------------------------------------------------------------------------------


def test_receipts_rise_and_repeats_are_dropped(client: Harness) -> None:
    events = client.receive(ack("A", 2), ack("A", 2), ack("A", 4), ack("A", 3), ack("A", 4))

    assert events == [
        Receipt("A", BEN, BEN, Level.DELIVERED, 1566970629),
        Receipt("A", BEN, BEN, Level.PLAYED, 1566970629),
    ]


def test_group_receipts_are_counted_for_each_member(client: Harness) -> None:
    events = client.receive(
        ack("A", 2, to=GROUP, by="919428284313@c.us"),
        ack("A", 2, to=GROUP, by="919354513536@c.us"),
        ack("A", 2, to=GROUP, by="919354513536@c.us"),
    )

    assert [event.user for event in events if isinstance(event, Receipt)] == [BEN, CARL]
    assert all(isinstance(event, Receipt) and event.chat == GROUP for event in events)


def test_a_receipt_does_not_stand_for_ack_1(client: Harness) -> None:
    client.submit("A")

    client.receive(ack("A", 2))

    assert client.protocol.is_unacked("A")


def test_receipts_of_other_authors_and_unknown_levels_are_skipped(client: Harness) -> None:
    foreign = ack("A", 2)
    foreign[1]["from"] = f"{CARL}@c.us"

    assert client.receive(foreign, ack("A", 5), ack("A", 0), ack("A", -1)) == []


# -- bounds --------------------------------------------------------------------------------------


def test_messages_beyond_the_bound_are_fetched_again_once_the_held_ones_were_taken() -> None:
    harness = Harness(held_messages=2)
    everything = [message(i) for i in "ABCDE"]
    harness.log_in(queue(*everything))
    harness.receive(message("F"))
    assert harness.written() == [], "not before there is room"

    assert harness.taken_ids() == ["A", "B"]
    written = harness.written()
    assert [frame[0] for frame in written] == ["Msg", "Msg", "auth"]

    harness.receive(message("G"), AUTH_OK, queue(*everything[2:], message("F"), message("G")))
    assert harness.taken_ids() == ["C", "D"]
    harness.written()
    harness.receive(AUTH_OK, queue(everything[4], message("F"), message("G")))
    assert harness.taken_ids() == ["E", "F"]
    harness.written()
    harness.receive(AUTH_OK, queue(message("G")))
    assert harness.taken_ids() == ["G"]
    assert [frame[0] for frame in harness.written()] == ["Msg"]


def test_fetching_again_is_neither_a_new_connection_nor_a_reason_to_send_again() -> None:
    harness = Harness(held_messages=1)
    harness.log_in(queue(message("A"), message("B")))
    harness.submit("S")
    assert len(harness.written()) == 1
    harness.take()
    assert [frame[0] for frame in harness.written()] == ["Msg", "auth"]

    assert harness.receive(AUTH_OK) == []
    assert harness.written() == []
    assert harness.receive(ack("S")) == [Accepted("S", BEN, 1566970629)]


def test_messages_are_held_up_to_a_number_of_bytes_but_always_one() -> None:
    harness = Harness(held_bytes=1000)
    harness.log_in(queue(message("A", "x" * 5000), message("B")))

    assert harness.taken_ids() == ["A"]
    assert [frame[0] for frame in harness.written()] == ["Msg", "auth"]
    harness.receive(AUTH_OK, queue(message("B"), message("C")))
    assert harness.taken_ids() == ["B", "C"]


@pytest.mark.parametrize("asked_again", [False, True])
def test_a_connection_lost_before_the_rest_was_fetched_is_like_any_other(
    asked_again: bool,
) -> None:
    harness = Harness(held_messages=1)
    harness.log_in(queue(message("A"), message("B")))
    harness.submit("S")
    if asked_again:
        harness.take()
        harness.written()
    harness.lose()

    assert Connected() in harness.log_in(queue(message("A"), message("B")))

    assert "action" in [frame[0] for frame in harness.written()]
    assert harness.taken_ids() == (["B"] if asked_again else ["A"])


def test_acks_and_receipts_are_read_however_many_messages_are_held() -> None:
    harness = Harness(held_messages=1)
    harness.log_in(queue(message("A"), message("B"), message("C")))
    harness.submit("S")

    assert harness.receive(ack("S"), ack("S", 2)) == [
        Accepted("S", BEN, 1566970629),
        Receipt("S", BEN, BEN, Level.DELIVERED, 1566970629),
    ]


def test_of_other_events_the_newest_are_kept() -> None:
    harness = Harness(held_notices=3)
    harness.log_in(message("M"))

    harness.receive(*(ack(f"{n}", 2) for n in range(5)))

    events = harness.take()
    assert [e.id for e in events if isinstance(e, Receipt)] == ["2", "3", "4"]
    assert [e.id for e in events if isinstance(e, Message)] == ["M"]
    assert harness.protocol.dropped_notices == 3


def test_memory_for_repeats_is_bounded() -> None:
    harness = Harness(remembered=2)
    harness.log_in()
    harness.receive(message("A"), message("B"), message("C"))
    harness.take()
    assert [frame[1]["id"] for frame in harness.written()] == ["B", "C"]

    harness.receive(message("A"), message("C"), *(ack(i, 2) for i in "XYZX"))

    events = harness.take()
    assert [e.id for e in events if isinstance(e, Message)] == ["A"]
    assert [e.id for e in events if isinstance(e, Receipt)] == ["X", "Y", "Z", "X"]


# -- frames that make no sense -------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "[]",
        "{}",
        "null",
        "[1]",
        '["q"]',
        '["q",{"data":7}]',
        '["q",{"data":"[[]"}]',
        '["q",{"data":"{}"}]',
        '["auth",{}]',
        '["auth",{"status":"perhaps"}]',
        '["action",{"add":"relay"}]',
        '["action",{"add":"update"},[]]',
        '["Msg",{"id":["A"],"ack":2,"to":"1","from":"917069852821"}]',
        '["Msg",{"id":"A","ack":1,"to":"1@example.org","from":"917069852821"}]',
        '["Msg",{"id":"A","ack":1,"to":"1","from":""}]',
        '["error",{"code":"x"}]',
        "[" * 100_000,
        '["action",{"add":"relay"},[' + '{"a":' * 5000 + "1" + "}" * 5000 + "]]",
        '["q",{"data":"[[],[' + "[" * 100_000 + '"}]',
        b'["\xff"]',
        "!1566970629123",
        "b1,[]",
    ],
)
def test_a_frame_that_makes_no_sense_is_counted_and_costs_nothing_else(
    client: Harness, frame: str | bytes
) -> None:
    assert client.protocol.receive(frame, now_s=NOW_S) == []

    assert client.protocol.ignored_frames == 1
    assert client.protocol.online
    assert client.receive(message("A")) != []


@pytest.mark.parametrize(
    "frame",
    [["Presence", {"id": "x"}], ["response", {}], ["Pong", True], ["auth", {"status": "success"}]],
)
def test_frames_that_were_not_asked_for_are_skipped(client: Harness, frame: list[Any]) -> None:
    assert client.receive(frame) == []
    assert client.protocol.ignored_frames == 0
    assert client.protocol.online


@pytest.mark.parametrize(
    "change",
    [
        lambda element: element.pop("key"),
        lambda element: element.pop("message"),
        lambda element: element["key"].update(remoteJid="x@example.org"),
        lambda element: element["key"].update(remoteJid=GROUP),  # and no participant
        lambda element: element["key"].update(id=7),
        lambda element: element.update(message=[1]),
        lambda element: element.update(message=None),
    ],
)
def test_one_bad_element_leaves_the_others(
    client: Harness, change: Callable[[dict[str, Any]], object]
) -> None:
    bad = message("A")
    change(bad[2][0])

    client.receive(queue(bad, message("B")))
    both = ["action", {"add": "relay"}, bad[2] + message("C")[2]]
    client.receive(both)

    assert client.taken_ids() == ["B", "C"]
    assert client.protocol.ignored_frames == 2


def test_a_login_or_queue_inside_a_queue_is_skipped(client: Harness) -> None:
    client.receive(queue(["auth", {"status": "failure", "code": 401}], queue(message("A")), []))

    assert client.protocol.online
    assert client.taken_ids() == []


@pytest.mark.parametrize("t", ["soon", "", "9" * 5000])
def test_a_time_that_is_none_reads_as_0(client: Harness, t: str) -> None:
    frame = message("A")
    frame[2][0]["messageTimestamp"] = t

    [event] = client.receive(frame)

    assert isinstance(event, Message)
    assert event.t == 0


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["id", "ack", "to", "from", "data", "key", "status"]), inner
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["auth", "q", "action", "Msg", "MsgInfo", "error", "Cmd", "?"]),
)
@settings(max_examples=100, deadline=None)
def test_no_frame_raises(value: Any, tag: str) -> None:
    harness = Harness()
    harness.log_in()

    harness.receive([tag, value], [tag, value, [value]], value)


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


# -- against a model of the relay ----------------------------------------------------------------


class ModelRelay:
    """What PROTOCOL promises, for one client, over a connection that may break at any frame."""

    def __init__(self) -> None:
        self.mailbox: dict[str, list[Any]] = {}
        self.stored: list[str] = []
        self.to_relay: list[Any] = []
        self.to_client: list[Any] = []
        self.logged_in = False

    def lose_connection(self) -> None:
        self.to_relay, self.to_client, self.logged_in = [], [], False

    def deliver(self, message_id: str) -> None:
        self.mailbox[message_id] = message(message_id)
        if self.logged_in:
            self.to_client.append(self.mailbox[message_id])

    def read_one(self) -> None:
        match self.to_relay.pop(0):
            case ["auth", *_]:
                self.logged_in = True
                entries = list(self.mailbox.values())
                pages = [entries[i : i + 3] for i in range(0, len(entries), 3)] or [[]]
                self.to_client += [AUTH_OK, *(queue(*page) for page in pages)]
            case ["Msg", {"id": message_id}]:
                assert self.logged_in
                self.mailbox.pop(message_id, None)
            case ["action", _, [{"key": {"id": message_id}}]]:
                assert self.logged_in
                if message_id not in self.stored:
                    self.stored.append(message_id)
                self.to_client.append(ack(message_id))
            case frame:
                raise AssertionError(frame)


STEPS = ["connect", "lose", "write", "relay reads", "client reads", "take", "deliver", "submit"]


@given(st.lists(st.sampled_from(STEPS), max_size=120), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_whatever_gets_lost_every_message_arrives_once_in_order_and_every_send_is_stored_once(
    steps: list[str], held_messages: int
) -> None:
    harness, relay = Harness(held_messages=held_messages), ModelRelay()
    protocol = harness.protocol
    connected = False
    delivered: list[str] = []
    submitted: list[str] = []
    taken: list[str] = []
    accepted: list[str] = []

    def take_one() -> bool:
        event = protocol.next_event()
        if isinstance(event, Message):
            taken.append(event.id)
            protocol.acknowledge(event, Level.DELIVERED, now_s=NOW_S)
        elif isinstance(event, Accepted):
            accepted.append(event.id)
        return event is not None

    def write_one() -> bool:
        frame = protocol.next_frame() if connected else None
        if frame is None:
            return False
        relay.to_relay.append(json.loads(frame))
        protocol.frame_sent()
        return True

    def step(name: str) -> bool:
        nonlocal connected
        match name:
            case "connect" if not connected:
                connected = True
                protocol.connection_opened(uptime_s=0)
            case "lose" if connected:
                connected = False
                relay.lose_connection()
                harness.lose()
            case "write":
                return write_one()
            case "relay reads" if relay.to_relay:
                relay.read_one()
            case "client reads" if relay.to_client:
                harness.receive(relay.to_client.pop(0))
            case "take":
                return take_one()
            case "deliver":
                delivered.append(f"D{len(delivered)}")
                relay.deliver(delivered[-1])
            case "submit":
                submitted.append(f"S{len(submitted)}")
                harness.submit(submitted[-1])
            case _:
                return False
        return True

    for name in steps:
        step(name)
    # Then the network is well, and everything comes to rest.
    while any(step(name) for name in ("connect", "write", "relay reads", "client reads", "take")):
        pass

    assert taken == delivered
    assert relay.stored == submitted
    assert accepted == submitted
    assert relay.mailbox == {}
    assert protocol.unacked == 0
