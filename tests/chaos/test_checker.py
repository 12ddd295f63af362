"""The checker finds each broken promise in a ledger that shows it, and none where none is."""

from __future__ import annotations

import pytest

from .checker import Totals, check, stuck
from .ledger import DELIVERED, READ, Connection, Key, Ledger, Via

ANN, BEN, CAT, DAN = "ann", "ben", "cat", "dan"
GROUP = "group@g.us"


class Story:
    """A run told line by line; each line takes a second."""

    def __init__(self) -> None:
        self.ledger = Ledger({GROUP: frozenset({ANN, BEN, CAT, DAN})})
        self.clock_s = 0.0

    def now(self) -> float:
        self.clock_s += 1
        return self.clock_s

    def log_in(self, user: str, again_on: Connection | None = None) -> Connection:
        connection = again_on or self.ledger.connected(user)
        self.ledger.asked(connection, self.now())
        self.ledger.logged_in(connection)
        return connection

    def send(self, author: Connection, message_id: str, chat: str = BEN) -> Key:
        key = Key(author.user, chat, message_id)
        self.ledger.sent(author, key, f"text of {message_id}", self.now())
        return key

    def store(self, author: Connection, *keys: Key) -> None:
        for key in keys:
            self.ledger.stored(author, key, self.now())

    def deliver(self, reader: Connection, *keys: Key, text: str = "", via: Via = Via.LIVE) -> None:
        for key in keys:
            said = text or f"text of {key.message_id}"
            self.ledger.delivered(reader, key, said, via, self.now())

    def ack(self, reader: Connection, key: Key, level: int = DELIVERED) -> None:
        self.ledger.acked(reader, key, level, self.now())

    def tell(
        self,
        author: Connection,
        key: Key,
        level: int = DELIVERED,
        by: str = BEN,
        via: Via = Via.LIVE,
    ) -> None:
        self.ledger.receipt(author, key, by, level, via, self.now())

    def complete(self, author: Connection, reader: Connection, message_id: str) -> Key:
        """Let a message come, and its receipt."""
        key = self.send(author, message_id)
        self.store(author, key)
        self.deliver(reader, key)
        self.ack(reader, key)
        self.tell(author, key)
        return key

    def kinds(self) -> list[str]:
        return [violation.kind for violation in check(self.ledger)]


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def ann(story: Story) -> Connection:
    return story.log_in(ANN)


@pytest.fixture
def ben(story: Story) -> Connection:
    return story.log_in(BEN)


# --- what is right ---


def test_a_run_in_which_everything_arrives_is_clean(
    story: Story, ann: Connection, ben: Connection
) -> None:
    first, second = story.send(ann, "1"), story.send(ann, "2")
    story.store(ann, first, second)
    story.deliver(ben, first, second)
    story.ack(ben, first)
    story.ack(ben, second, READ)
    story.tell(ann, second, READ)
    story.tell(ann, first)

    assert story.kinds() == []
    assert stuck(story.ledger) == []
    totals = Totals.of(story.ledger)
    assert totals == Totals(
        sent=2, acked=2, refused=0, delivered=2, redelivered=0, receipts=2, logins=2
    )


def test_redelivery_at_a_new_login_until_the_ack_is_processed_is_right(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.send(ann, "1")
    story.store(ann, key)
    story.deliver(ben, key)
    story.ack(ben, key)  # lost with the connection
    again = story.log_in(BEN)
    story.tell(ann, key)  # processed after all, when the queue had been read
    story.deliver(again, key, via=Via.QUEUE)
    story.ack(again, key)

    assert story.kinds() == []
    assert story.ledger.redelivered == 1


def test_a_repeated_login_on_one_connection_may_bring_all_again(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.send(ann, "1")
    story.store(ann, key)
    story.deliver(ben, key)
    story.log_in(BEN, again_on=ben)
    story.deliver(ben, key, via=Via.QUEUE)
    story.ack(ben, key)
    story.tell(ann, key)
    story.log_in(ANN, again_on=ann)
    story.tell(ann, key, via=Via.QUEUE)

    assert story.kinds() == []


def test_a_message_resent_after_a_reconnect_may_be_acked_on_both_connections(
    story: Story, ann: Connection, ben: Connection
) -> None:
    first, second = story.send(ann, "1"), story.send(ann, "2")
    again = story.log_in(ANN)
    for key in (first, second):
        story.send(again, key.message_id)
    story.store(again, first, second)
    story.store(ann, first)
    story.deliver(ben, first, second)
    for key in (first, second):
        story.ack(ben, key)
        # It was in the queue before the resend was answered.
        story.tell(again, key, via=Via.QUEUE)

    assert story.kinds() == []


def test_an_error_for_overload_leaves_nothing_to_deliver(story: Story, ann: Connection) -> None:
    story.ledger.refused(ann, story.send(ann, "1"), 507, story.now())

    assert story.kinds() == []
    assert stuck(story.ledger) == []


def test_members_may_have_the_messages_of_a_group_in_one_order_each_without_his_own(
    story: Story, ann: Connection, ben: Connection
) -> None:
    cat, dan = story.log_in(CAT), story.log_in(DAN)
    by_ann, by_ben = story.send(ann, "A", GROUP), story.send(ben, "B", GROUP)
    story.deliver(cat, by_ann, by_ben)
    story.deliver(dan, by_ann, by_ben)
    story.deliver(ben, by_ann)
    story.deliver(ann, by_ben)
    story.store(ann, by_ann)
    story.store(ben, by_ben)

    assert story.kinds() == []


# --- loss ---


def test_an_acked_message_that_never_comes_is_lost(story: Story, ann: Connection) -> None:
    story.store(ann, story.send(ann, "1"))

    assert story.kinds() == ["lost"]


def test_a_group_message_is_lost_for_each_member_whom_it_does_not_reach(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.send(ann, "1", GROUP)
    story.store(ann, key)
    story.deliver(ben, key)

    found = check(story.ledger)

    assert [(v.kind, v.keys, v.what) for v in found] == [
        ("lost", (key,), "never came to cat"),
        ("lost", (key,), "never came to dan"),
    ]


def test_a_send_without_any_answer_is_told(story: Story, ann: Connection) -> None:
    story.send(ann, "1")

    assert story.kinds() == ["unanswered"]


@pytest.mark.parametrize(("said", "told"), [(DELIVERED, 0), (READ, DELIVERED)])
def test_a_receipt_below_what_was_acked_is_missing(
    story: Story, ann: Connection, ben: Connection, said: int, told: int
) -> None:
    key = story.send(ann, "1")
    story.store(ann, key)
    story.deliver(ben, key)
    story.ack(ben, key, said)
    if told:
        story.tell(ann, key, told)

    assert story.kinds() == ["receipt missing"]


def test_a_higher_receipt_stands_for_the_lower(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.send(ann, "1")
    story.store(ann, key)
    story.deliver(ben, key)
    story.ack(ben, key, DELIVERED)
    story.ack(ben, key, READ)
    story.tell(ann, key, READ)

    assert story.kinds() == []


# --- duplicates ---


def test_a_message_twice_within_one_login_is_a_duplicate(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.complete(ann, ben, "1")
    story.deliver(ben, key)

    assert story.kinds() == ["duplicate"]


def test_a_message_that_comes_again_after_its_receipt_is_a_duplicate(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.complete(ann, ben, "1")
    again = story.log_in(BEN)
    story.deliver(again, key, via=Via.QUEUE)

    assert story.kinds() == ["duplicate"]


def test_a_receipt_twice_within_one_login_is_told(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.complete(ann, ben, "1")
    story.tell(ann, key)

    assert story.kinds() == ["receipt repeated"]


# --- order ---


def test_first_deliveries_against_the_order_of_the_sends_are_told(
    story: Story, ann: Connection, ben: Connection
) -> None:
    first, second = story.send(ann, "1"), story.send(ann, "2")
    story.store(ann, first, second)
    story.deliver(ben, second)
    again = story.log_in(BEN)
    story.deliver(again, first)

    [found] = check(story.ledger)

    assert (found.kind, found.keys) == ("out of order", (first, second))


def test_redeliveries_within_a_login_keep_the_order_too(
    story: Story, ann: Connection, ben: Connection
) -> None:
    first, second = story.send(ann, "1"), story.send(ann, "2")
    story.store(ann, first, second)
    story.deliver(ben, first, second)
    again = story.log_in(BEN)
    story.deliver(again, second, first, via=Via.QUEUE)

    assert story.kinds() == ["out of order"]


def test_messages_of_different_chats_have_no_order(
    story: Story, ann: Connection, ben: Connection
) -> None:
    to_group, to_ben = story.send(ann, "1", GROUP), story.send(ann, "2")
    story.store(ann, to_group, to_ben)
    story.deliver(ben, to_ben, to_group)

    assert "out of order" not in story.kinds()


def test_two_members_with_two_orders_are_told(
    story: Story, ann: Connection, ben: Connection
) -> None:
    cat, dan = story.log_in(CAT), story.log_in(DAN)
    by_ann, by_ben = story.send(ann, "A", GROUP), story.send(ben, "B", GROUP)
    story.deliver(cat, by_ann, by_ben)
    story.deliver(dan, by_ben, by_ann)

    assert "group order" in story.kinds()


def test_three_members_who_cannot_all_be_right_are_told(
    story: Story, ann: Connection, ben: Connection
) -> None:
    """No two of them had the same two messages."""
    cat = story.log_in(CAT)
    by_ann, by_ben, by_cat = (story.send(author, author.user, GROUP) for author in (ann, ben, cat))
    story.deliver(ben, by_ann, by_cat)
    story.deliver(ann, by_cat, by_ben)
    story.deliver(cat, by_ben, by_ann)

    [cycle] = [found for found in check(story.ledger) if found.kind == "group order"]

    assert set(cycle.keys) == {by_ann, by_ben, by_cat}


def test_acks_1_against_the_order_of_the_sends_are_told(
    story: Story, ann: Connection, ben: Connection
) -> None:
    first, second = story.send(ann, "1"), story.send(ann, "2")
    story.deliver(ben, first, second)
    story.store(ann, second, first)

    assert story.kinds() == ["ack 1 out of order"]


def test_a_receipt_before_the_ack_1_is_told(story: Story, ann: Connection, ben: Connection) -> None:
    key = story.send(ann, "1")
    story.deliver(ben, key)
    story.ack(ben, key)
    story.tell(ann, key)
    story.store(ann, key)

    assert story.kinds() == ["receipt before ack 1"]


# --- forgery ---


def test_what_nobody_sent_is_forged(story: Story, ben: Connection) -> None:
    story.deliver(ben, Key(ANN, BEN, "1"))

    assert story.kinds() == ["forged"]


def test_another_content_is_forged(story: Story, ann: Connection, ben: Connection) -> None:
    key = story.complete(ann, ben, "1")
    story.deliver(story.log_in(BEN), key, text="something else")

    assert story.kinds() == ["forged"]


def test_what_comes_to_someone_else_is_forged(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.complete(ann, ben, "1")
    story.deliver(story.log_in(CAT), key)

    assert story.kinds() == ["forged"]


def test_an_author_does_not_get_his_own_group_message(story: Story, ann: Connection) -> None:
    story.deliver(ann, story.send(ann, "1", GROUP))

    assert "forged" in story.kinds()


@pytest.mark.parametrize(("level", "by"), [(READ, BEN), (DELIVERED, CAT)])
def test_a_receipt_of_what_was_never_said_is_forged(
    story: Story, ann: Connection, ben: Connection, level: int, by: str
) -> None:
    key = story.send(ann, "1")
    story.store(ann, key)
    story.deliver(ben, key)
    story.ack(ben, key)
    story.tell(ann, key)
    story.tell(ann, key, level, by)

    assert story.kinds() == ["forged"]


def test_an_answer_to_a_send_of_someone_else_is_forged(
    story: Story, ann: Connection, ben: Connection
) -> None:
    story.store(ben, story.complete(ann, ben, "1"))

    assert story.kinds() == ["forged"]


# --- errors and sessions ---


@pytest.mark.parametrize("code", [400, 403, 404, 409, 413])
def test_an_error_without_a_reason_is_told(story: Story, ann: Connection, code: int) -> None:
    story.ledger.refused(ann, story.send(ann, "1"), code, story.now())

    assert story.kinds() == ["refused"]


def test_a_refused_message_that_comes_is_told(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.send(ann, "1")
    story.ledger.refused(ann, key, 507, story.now())
    story.deliver(ben, key)

    assert story.kinds() == ["refused"]


def test_only_a_newer_login_replaces_a_connection(story: Story, ann: Connection) -> None:
    newer = story.log_in(ANN)
    story.ledger.replaced(ann)
    assert story.kinds() == []

    story.ledger.replaced(newer)
    assert story.kinds() == ["replaced wrongly"]


# --- stuck ---


def test_what_is_not_finished_is_stuck(story: Story, ann: Connection, ben: Connection) -> None:
    waiting = story.send(ann, "1")
    undelivered, unread = story.send(ann, "2"), story.send(ann, "3")
    story.store(ann, undelivered, unread)
    story.deliver(ben, unread)
    story.ack(ben, unread, READ)
    story.complete(ann, ben, "4")

    found = {violation.keys[0]: violation.what for violation in stuck(story.ledger)}

    assert found == {
        waiting: "no ack 1",
        undelivered: "not delivered to ben",
        unread: "no receipt of ben's 3",
    }


def test_what_was_finished_is_looked_at_again_when_it_is_acked_higher(
    story: Story, ann: Connection, ben: Connection
) -> None:
    key = story.complete(ann, ben, "1")
    assert stuck(story.ledger) == []

    story.ack(ben, key, READ)

    assert [violation.what for violation in stuck(story.ledger)] == ["no receipt of ben's 3"]


def test_a_message_tells_its_story_in_order(story: Story, ann: Connection, ben: Connection) -> None:
    key = story.complete(ann, ben, "1")

    assert [event.text for event in story.ledger.messages[key].story()] == [
        "sent on connection 0",
        "ack 1 on connection 0",
        "came to ben live on connection 1",
        "ben acked 2 on connection 1",
        "author told of ben's 2 on connection 0",
    ]
