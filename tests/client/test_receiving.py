"""Messages and receipts: given once, acked once they are taken."""

from relay.client.events import Level, Message, Receipt
from tests.client.fake_relay import ack, message, queue
from tests.client.protocol_harness import BEN, CARL, GROUP, NOW_S, Harness


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


def test_a_message_is_acked_only_when_it_was_taken(client: Harness) -> None:
    client.receive(message("A"))
    event = client.protocol.next_event()
    assert client.written() == []
    assert client.protocol.next_event() == event, "it stays the next one until then"
    assert isinstance(event, Message)

    client.protocol.acknowledge(event, Level.DELIVERED, client.now)

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
    client.protocol.acknowledge(b, Level.READ, client.now)
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("A", 2), ("B", 3)]

    client.protocol.acknowledge(a, Level.READ, client.now)
    client.protocol.acknowledge(a, Level.READ, client.now)
    client.protocol.acknowledge(b, Level.DELIVERED, client.now)
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("A", 3)]

    client.protocol.acknowledge(b, Level.PLAYED, client.now)
    assert [(f[1]["id"], f[1]["ack"]) for f in client.written()] == [("B", 4)]


def test_an_ack_that_rises_while_it_is_written_is_written_again(client: Harness) -> None:
    client.receive(message("A"))
    [event] = client.take()
    assert isinstance(event, Message)
    assert client.protocol.next_frame(client.now) is not None
    client.protocol.acknowledge(event, Level.READ, client.now)
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
    client.protocol.acknowledge(event, Level.READ, client.now)
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
    assert client.protocol.next_frame(client.now) is not None
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
