"""Orders for a worker: found at its sweeps, carried out once, and answered."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from workers.orders import Orders
from workers.store.orders import Answer, Order, OrderFile, Purged

ORDER = Order(user="bob", workers=[0, 3, 4])


def test_there_is_none_where_nobody_gave_one(tmp_path: Path) -> None:
    assert Orders(tmp_path, 0).current() is None


def test_one_is_carried_out_until_it_is_done_and_answered(tmp_path: Path) -> None:
    file, orders = OrderFile(tmp_path, "a"), Orders(tmp_path, 3)
    file.write(ORDER)

    purging = orders.current()
    assert purging is not None
    assert purging.order == ORDER
    assert file.read_answer(3) is None
    purging.purged.messages = 5
    orders.note(purging)
    assert file.read_answer(3) == Answer(Purged(messages=5))
    assert orders.current() is purging
    purging.is_done = True
    orders.note(purging)

    assert file.read_answer(3) == Answer(Purged(messages=5), is_done=True)
    assert orders.current() is None
    assert Orders(tmp_path, 3).current() is None, "a later incarnation knows too"
    assert Orders(tmp_path, 4).current() is not None, "another worker has it to do"
    assert Orders(tmp_path, 5).current() is None, "it is not for that one"


def test_a_later_incarnation_counts_on(tmp_path: Path) -> None:
    file, orders = OrderFile(tmp_path, "a"), Orders(tmp_path, 0)
    file.write(ORDER)
    purging = orders.current()
    assert purging is not None
    purging.purged.receipts = 7
    orders.note(purging)

    again = Orders(tmp_path, 0).current()

    assert again is not None
    assert again.purged == Purged(receipts=7)


def test_one_that_was_taken_away_is_given_up(tmp_path: Path) -> None:
    file, orders = OrderFile(tmp_path, "a"), Orders(tmp_path, 0)
    file.write(ORDER)
    purging = orders.current()
    assert purging is not None
    purging.purged.messages = 5

    file.take_away()

    with capture_logs() as events:
        assert orders.current() is None
        assert orders.current() is None
    assert [(event["event"], event["messages"]) for event in events] == [("order.withdrawn", 5)]
    assert list(tmp_path.iterdir()) == []


def test_one_that_cannot_be_read_is_left_and_the_next_is_done(tmp_path: Path) -> None:
    orders = Orders(tmp_path, 0)
    OrderFile(tmp_path, "b").write(ORDER)
    (tmp_path / "orders" / "a.json").write_bytes(b"{")

    purging = orders.current()

    assert purging is not None
    assert purging.order == ORDER
