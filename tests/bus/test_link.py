"""Links: batches are kept until confirmed, bounded by credit, and repeats are told from news."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.bus.link import Incoming, Outgoing

# ------------------------------------------------------------------------------------ outgoing


def test_batches_are_numbered_from_one() -> None:
    link: Outgoing[str] = Outgoing(100)

    numbers = []
    for _ in range(3):
        numbers.append(link.next_number)
        link.sent(1)

    assert numbers == [1, 2, 3]


def test_what_is_not_confirmed_is_repeated_in_order() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(1, ("a", "b"))
    link.sent(1)
    link.sent(1, ("c",))
    assert list(link.unconfirmed()) == ["a", "b", "c"]

    link.confirm(1)
    assert list(link.unconfirmed()) == ["c"]

    link.confirm(3)
    assert list(link.unconfirmed()) == []


def test_a_confirmation_covers_all_before_it_and_may_come_again_or_late() -> None:
    link: Outgoing[str] = Outgoing(100)
    for item in "abc":
        link.sent(10, (item,))

    link.confirm(2)
    link.confirm(2)
    link.confirm(1)

    assert list(link.unconfirmed()) == ["c"]
    assert link.unconfirmed_bytes == 10


def test_of_a_batch_that_is_confirmed_in_part_the_rest_is_repeated() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(10, ("a",))
    link.sent(10, ("b", None, "c", "d"))

    assert link.confirm(1, 2) == [("a",), ("b", None)]
    assert link.confirm(1, 2) == [], "it may come again"
    assert link.confirm(0, 1) == [], "or late"
    assert list(link.unconfirmed()) == ["c", "d"]
    assert link.confirm(1, 3) == [("c",)]
    assert link.unconfirmed_bytes == 10, "it takes credit until all of it is confirmed"

    assert link.confirm(2) == [("d",)]
    assert list(link.unconfirmed()) == []
    assert link.unconfirmed_bytes == 0


def test_a_part_of_a_batch_that_was_never_sent_confirms_nothing() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(10, ("a",))

    assert link.confirm(1, 1) == [("a",)]


def test_what_is_not_to_be_repeated_is_not() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(10, (None, "a", None))

    assert list(link.unconfirmed()) == ["a"]


def test_the_credit_is_used_up_at_its_bound_and_freed_by_confirmations() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(99)
    assert not link.is_full

    link.sent(1)
    assert link.is_full

    link.confirm(1)
    assert not link.is_full
    assert link.unconfirmed_bytes == 1


def test_a_batch_larger_than_the_credit_fills_it_until_it_is_confirmed() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(1000)
    assert link.is_full

    link.confirm(1)
    assert not link.is_full


def test_empty_batches_take_no_credit() -> None:
    link: Outgoing[str] = Outgoing(1)
    for _ in range(10):
        link.sent(0)

    assert not link.is_full


def test_a_restart_begins_anew() -> None:
    link: Outgoing[str] = Outgoing(100)
    link.sent(100, ("a",))
    link.restart()

    assert link.next_number == 1
    assert not link.is_full
    assert list(link.unconfirmed()) == []


# ------------------------------------------------------------------------------------ incoming


def test_a_batch_is_taken_once() -> None:
    link = Incoming()

    assert [link.accept(number, 10) for number in (1, 2, 2, 1, 3)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert link.received == 3


def test_a_confirmation_is_owed_once_enough_came_since_the_last() -> None:
    link = Incoming()
    link.accept(1, 60)
    assert not link.owes(100)

    link.accept(2, 40)
    assert link.owes(100)

    assert link.report() == 2
    assert not link.owes(100)


def test_a_repeated_batch_is_owed_nothing() -> None:
    link = Incoming()
    link.accept(1, 10)
    link.report()
    link.accept(1, 10)

    assert not link.owes(1)


def test_the_next_incarnation_is_numbered_anew() -> None:
    link = Incoming()
    link.accept(7, 100)
    link.restart()

    assert not link.owes(1)
    assert link.report() == 0
    assert link.accept(1, 10)


# ---------------------------------------------------------------------------------- both ends


class LossyLink(RuleBasedStateMachine):
    """A sender and the incarnations of its peer: each item is handled, in order, none lost.

    An incarnation dies with what is on its way to it; its successor gets what was not confirmed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outgoing: Outgoing[int] = Outgoing(50)
        self.incoming = Incoming()
        self.on_the_way: list[tuple[int, int, tuple[int, ...]]] = []
        self.handled: list[int] = []
        self.last_item = 0

    def _send(self, items: tuple[int, ...]) -> None:
        size = 10 * len(items)
        self.on_the_way.append((self.outgoing.next_number, size, items))
        self.outgoing.sent(size, items)

    @precondition(lambda self: not self.outgoing.is_full)
    @rule(count=st.integers(0, 3))
    def send(self, count: int) -> None:
        items = tuple(range(self.last_item + 1, self.last_item + 1 + count))
        self.last_item += count
        self._send(items)

    @precondition(lambda self: self.on_the_way)
    @rule()
    def arrive(self) -> None:
        number, size, items = self.on_the_way.pop(0)
        assert self.incoming.accept(number, size)
        self.handled += items

    @precondition(lambda self: self.incoming.received)
    @rule()
    def confirm(self) -> None:
        self.outgoing.confirm(self.incoming.report())

    @rule()
    def next_incarnation(self) -> None:
        self.on_the_way.clear()
        self.incoming.restart()
        repeated = tuple(self.outgoing.unconfirmed())
        self.outgoing.restart()
        self._send(repeated)

    @invariant()
    def nothing_is_lost_or_out_of_order(self) -> None:
        news: list[int] = []
        for item in [*self.handled, *(i for _, _, items in self.on_the_way for i in items)]:
            if item not in news:
                assert item == (news[-1] if news else 0) + 1
                news.append(item)
        assert len(news) == self.last_item

    @invariant()
    def memory_is_bounded(self) -> None:
        # One batch of up to three items may go over the credit.
        assert self.outgoing.unconfirmed_bytes < 50 + 30
        assert self.outgoing.unconfirmed_bytes == 10 * len(list(self.outgoing.unconfirmed()))


TestLossyLink = LossyLink.TestCase
TestLossyLink.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
