"""What waits for the application, by itself."""

from relay.client.events import Connected, Event, Message, Refused
from relay.client.inbox import Inbox
from relay.client.limits import Limits

BEN = "919428284313"


def message(message_id: str) -> Message:
    return Message(message_id, BEN, BEN, {}, 0)


def drained(inbox: Inbox) -> list[Event]:
    events = []
    while (event := inbox.next()) is not None:
        events.append(event)
        if isinstance(event, Message):
            inbox.take(event.key)
    return events


def test_messages_and_notices_come_in_the_order_they_were_put_in() -> None:
    inbox = Inbox(Limits())
    a, b, refused = message("A"), message("B"), Refused(400, "malformed", "", "")
    inbox.hold(a, 10)
    inbox.note(Connected())
    inbox.hold(b, 10)
    inbox.note(refused)

    assert drained(inbox) == [a, Connected(), b, refused]


def test_a_message_stays_the_next_event_until_it_was_taken() -> None:
    inbox = Inbox(Limits())
    a, b = message("A"), message("B")
    inbox.hold(a, 10)
    inbox.hold(b, 10)

    assert inbox.next() is inbox.next() is a
    inbox.take(b.key)
    assert inbox.next() is a, "only the first can be taken"
    assert a.key in inbox
    inbox.take(a.key)
    assert a.key not in inbox
    assert inbox.next() is b


def test_what_comes_after_a_message_left_behind_is_left_behind_too() -> None:
    inbox = Inbox(Limits(held_bytes=100))
    inbox.hold(message("A"), 60)

    assert not inbox.hold(message("B"), 60)
    assert not inbox.hold(message("C"), 1), "it would overtake"
    assert inbox.left_behind
    assert not inbox.fetch_is_due
    inbox.take(message("A").key)
    assert inbox.fetch_is_due

    inbox.left_behind = False
    assert inbox.hold(message("B"), 60)
    assert not inbox.fetch_is_due


def test_the_first_message_is_held_whatever_its_size() -> None:
    inbox = Inbox(Limits(held_bytes=100))

    assert inbox.hold(message("A"), 1000)
    assert not inbox.hold(message("B"), 1)


def test_messages_are_held_up_to_a_number() -> None:
    inbox = Inbox(Limits(held_messages=2))

    assert [inbox.hold(message(message_id), 1) for message_id in "ABC"] == [True, True, False]


def test_of_the_notices_the_newest_are_kept_and_the_others_counted() -> None:
    inbox = Inbox(Limits(held_notices=2))
    notices: list[Event] = [Refused(code, "", "", "") for code in (400, 401, 402)]
    for notice in notices:
        inbox.note(notice)

    assert drained(inbox) == notices[1:]
    assert inbox.dropped_notices == 1
