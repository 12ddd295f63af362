"""Pings: on time, soon after receipts; what pongs prove, and frames confirm (R7, 2.1)."""

import pytest

from relay.bus.envelopes import Seq
from relay.front.pinger import FRAME_AFTER_MS, MAX_RECEIPTS_BEFORE_PING, Pinger
from relay.settings.tables import KeepaliveSettings

START_MS = 1_000_000
SETTINGS = KeepaliveSettings(ping_interval_s=20, pong_timeout_s=30, receipt_ping_s=1)


@pytest.fixture
def pinger() -> Pinger:
    return Pinger(SETTINGS, now_ms=START_MS)


def at(seconds: float) -> int:
    return START_MS + int(seconds * 1000)


def ping(pinger: Pinger, now_ms: int, *, up_to: int = 0) -> bytes:
    return pinger.ping(now_ms, up_to=Seq(up_to))


def seconded(pinger: Pinger, payload: bytes, now_ms: int = START_MS) -> int:
    """Take a pong, and a frame of the client a while later; return what they confirm."""
    pinger.pong(payload, now_ms)
    return pinger.frame(now_ms + FRAME_AFTER_MS)


def receipt_written(pinger: Pinger, now_ms: int) -> bool:
    """Do what a connection does when it has written a receipt; True if it planned a ping."""
    plans = pinger.receipts_written(1)
    if plans:
        pinger.ping_soon(now_ms)
    return plans


def test_the_first_ping_is_due_after_the_interval(pinger: Pinger) -> None:
    assert pinger.due_ms == at(20)
    assert not pinger.is_due(at(20) - 1)
    assert pinger.is_due(at(20))


def test_pings_follow_each_other_at_the_interval(pinger: Pinger) -> None:
    pinger.pong(ping(pinger, at(21)), at(21))

    assert pinger.due_ms == at(41)
    assert not pinger.is_due(at(40.9))
    assert pinger.is_due(at(41))


def test_every_ping_has_a_payload_of_its_own_that_a_control_frame_holds(pinger: Pinger) -> None:
    payloads = [ping(pinger, at(second)) for second in range(50)]

    assert len(set(payloads)) == 50
    assert all(0 < len(payload) <= 125 for payload in payloads)


def test_r7_a_ping_is_due_within_a_second_of_a_receipt(pinger: Pinger) -> None:
    assert receipt_written(pinger, at(3))

    assert pinger.due_ms == at(4)
    assert not pinger.is_due(at(4) - 1)
    assert pinger.is_due(at(4))


def test_receipts_in_a_row_do_not_put_the_ping_off(pinger: Pinger) -> None:
    assert receipt_written(pinger, at(3))
    assert not receipt_written(pinger, at(3.9))

    assert pinger.due_ms == at(4)


def test_a_receipt_does_not_put_the_regular_ping_off(pinger: Pinger) -> None:
    receipt_written(pinger, at(19.5))

    assert pinger.due_ms == at(20)
    assert pinger.is_due(at(20))


def test_a_ping_covers_the_receipts_before_it(pinger: Pinger) -> None:
    receipt_written(pinger, at(3))
    pinger.pong(ping(pinger, at(3.5), up_to=7), at(3.5))

    assert not pinger.is_due(at(4.5))
    assert pinger.due_ms == at(23.5)
    assert receipt_written(pinger, at(5))
    assert pinger.due_ms == at(6)


def test_r7_a_pong_and_a_frame_confirm_what_was_written_before_its_ping(pinger: Pinger) -> None:
    first = ping(pinger, at(1), up_to=7)
    second = ping(pinger, at(2), up_to=9)

    assert seconded(pinger, first) == 7
    assert seconded(pinger, second) == 9


def test_a_pong_answers_the_pings_before_its_own_too(pinger: Pinger) -> None:
    ping(pinger, at(1), up_to=7)
    second = ping(pinger, at(2), up_to=9)
    third = ping(pinger, at(3), up_to=11)

    assert seconded(pinger, second) == 9
    assert not pinger.is_dead(at(32))
    assert pinger.is_dead(at(33))
    assert seconded(pinger, third) == 11
    assert not pinger.is_dead(at(1000))


@pytest.mark.parametrize(
    "payload",
    [b"", b"0", b"4", b"-1", b" 2", b"2 ", b"x", b"+2", "²".encode(), b"9" * 19, b"9" * 125],
)
def test_a_pong_without_its_ping_confirms_nothing(pinger: Pinger, payload: bytes) -> None:
    for second in range(1, 4):
        ping(pinger, at(second), up_to=second)

    assert seconded(pinger, payload) == 0
    assert pinger.is_dead(at(31))
    assert seconded(pinger, b"3") == 3


def test_a_pong_counts_once(pinger: Pinger) -> None:
    payload = ping(pinger, at(1), up_to=7)

    assert seconded(pinger, payload) == 7
    assert seconded(pinger, payload) == 0


def test_an_unasked_pong_confirms_nothing(pinger: Pinger) -> None:
    assert seconded(pinger, b"1") == 0


def test_a_peer_is_dead_when_a_ping_has_waited_too_long(pinger: Pinger) -> None:
    assert not pinger.is_dead(at(10_000))
    ping(pinger, at(20))
    ping(pinger, at(40))

    assert pinger.due_ms == at(50)
    assert not pinger.is_dead(at(50) - 1)
    assert pinger.is_dead(at(50))


def test_the_wait_starts_again_for_a_connection_that_was_not_read(pinger: Pinger) -> None:
    first = ping(pinger, at(20), up_to=5)
    ping(pinger, at(40), up_to=6)

    pinger.excuse(at(49))

    assert not pinger.is_dead(at(79) - 1)
    assert pinger.is_dead(at(79))
    assert seconded(pinger, first) == 5


def test_whenever_something_is_to_be_done_it_is_due(pinger: Pinger) -> None:
    """`due_ms` is what the timer is set to: nothing may come true before it."""
    for second in range(200):
        now_ms = at(second)
        if second % 7 == 0:
            receipt_written(pinger, now_ms)
        acts = pinger.is_due(now_ms) or pinger.is_dead(now_ms)
        assert acts == (pinger.due_ms <= now_ms)
        if pinger.is_due(now_ms):
            payload = ping(pinger, now_ms, up_to=second)
            if second < 150:
                pinger.pong(payload, now_ms)
    assert pinger.is_dead(at(200))


def test_many_receipts_do_not_wait_for_their_ping(pinger: Pinger) -> None:
    """The mailbox holds them all until a pong, and its room is bounded."""
    reschedules = [receipt_written(pinger, at(0)) for _ in range(MAX_RECEIPTS_BEFORE_PING)]

    assert reschedules.count(True) == 2
    assert reschedules[-1]
    assert pinger.is_due(at(0))

    ping(pinger, at(0), up_to=9)
    assert not pinger.is_due(at(0))


def test_another_interval_scales_the_wait_for_the_next_ping(pinger: Pinger) -> None:
    pinger.adopt(KeepaliveSettings(ping_interval_s=10), now_ms=at(5))

    # 15 of 20 s were left, so 7.5 of 10 s are.
    assert pinger.due_ms == at(12.5)
    pinger.pong(ping(pinger, at(12.5)), at(12.5))
    assert pinger.due_ms == at(22.5)


def test_a_ping_that_is_overdue_stays_due_under_another_interval(pinger: Pinger) -> None:
    pinger.adopt(KeepaliveSettings(ping_interval_s=60), now_ms=at(25))

    assert pinger.is_due(at(25))


def test_a_ping_that_is_out_keeps_its_time_for_a_pong_and_the_next_has_the_new(
    pinger: Pinger,
) -> None:
    ping(pinger, at(0))

    pinger.adopt(KeepaliveSettings(ping_interval_s=20, pong_timeout_s=5), now_ms=at(1))

    assert not pinger.is_dead(at(30) - 1)
    assert pinger.is_dead(at(30))
    pinger.pong(ping(pinger, at(20)), at(20))
    ping(pinger, at(40))
    assert pinger.is_dead(at(45))


def test_other_settings_hold_for_the_next_receipt(pinger: Pinger) -> None:
    pinger.adopt(
        KeepaliveSettings(ping_interval_s=20, pong_timeout_s=30, receipt_ping_s=0.1), now_ms=at(1)
    )

    assert receipt_written(pinger, at(3))

    assert pinger.due_ms == at(3.1)


def test_r7_a_frame_within_a_second_of_the_pong_confirms_nothing(pinger: Pinger) -> None:
    """It may have been under way before the page was frozen."""
    pinger.pong(ping(pinger, at(1), up_to=7), at(2))

    assert pinger.frame(at(2)) == 0
    assert pinger.frame(at(3) - 1) == 0
    assert pinger.awaits_frame
    assert pinger.frame(at(3)) == 7
    assert not pinger.awaits_frame
    assert pinger.frame(at(4)) == 0


def test_r7_pongs_alone_confirm_nothing(pinger: Pinger) -> None:
    for second in range(0, 600, 20):
        pinger.pong(ping(pinger, at(second), up_to=second + 1), at(second))

    assert pinger.frame(at(580.5)) == 561  # of the pong of 560 s, not of that of 580 s
    assert pinger.frame(at(581)) == 581


def test_a_frame_confirms_what_the_last_pong_that_is_old_enough_covers(pinger: Pinger) -> None:
    for tenth in range(30):
        pinger.pong(ping(pinger, at(tenth / 10), up_to=tenth + 1), at(tenth / 10))

    # Few of them are kept, but none waits for ever.
    first = pinger.frame(at(3))
    assert 0 < first <= 21
    assert pinger.frame(at(4)) == 30


def test_a_ping_behind_nothing_awaits_no_frame(pinger: Pinger) -> None:
    pinger.pong(ping(pinger, at(1)), at(1))

    assert not pinger.awaits_frame
