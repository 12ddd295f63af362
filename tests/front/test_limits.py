"""What a session may do in a time."""

from __future__ import annotations

from relay.errors import Refusal
from relay.front.limits import SessionLimits
from relay.settings.tables import LimitSettings

NOW_MS = 1_566_970_629_000


def test_off_by_default() -> None:
    assert not SessionLimits(LimitSettings()).has_rate


def test_a_burst_then_the_rate() -> None:
    limits = SessionLimits(LimitSettings(frames_per_s=2.0, frames_burst=3))

    assert [limits.is_too_fast(NOW_MS) for _ in range(4)] == [False, False, False, True]
    assert not limits.is_too_fast(NOW_MS + 500)
    assert limits.is_too_fast(NOW_MS + 500)


def test_a_clock_that_goes_back_costs_nothing() -> None:
    limits = SessionLimits(LimitSettings(frames_per_s=2.0, frames_burst=2))
    limits.is_too_fast(NOW_MS)

    assert not limits.is_too_fast(NOW_MS - 60_000)
    assert limits.is_too_fast(NOW_MS - 60_000)


def test_2_3_2_what_is_wrong_with_the_shape_comes_before_the_rate() -> None:
    limits = SessionLimits(LimitSettings(frames_per_s=0.1))
    shape, content = Refusal(400, "shape"), Refusal(413, "size", message_id="1", of_content=True)

    assert limits.too_fast("action", shape) is shape
    refusal = limits.too_fast("action", content)
    assert (refusal.code, refusal.message_id, refusal.retry_after_s) == (429, "1", 10)


def test_r28_strikes_count_within_their_window() -> None:
    limits = SessionLimits(LimitSettings(malformed_frames=3, malformed_window_s=1.0))

    assert not limits.strike(NOW_MS)
    assert not limits.strike(NOW_MS + 500)
    assert not limits.strike(NOW_MS + 1000)
    assert limits.strike(NOW_MS + 1400)
