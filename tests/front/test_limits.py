"""What a session may do in a time."""

from __future__ import annotations

from relay.errors import Refusal
from relay.front.limits import SessionLimits
from relay.front.senders import Senders
from relay.settings.tables import LimitSettings, QuotaSettings, Settings

NOW_MS = 1_566_970_629_000


def limits_of(
    limits: LimitSettings | None = None, quota: QuotaSettings | None = None
) -> SessionLimits:
    settings = Settings(limits=limits or LimitSettings(), quota=quota or QuotaSettings())
    return SessionLimits(settings, Senders())


def test_a_rate_of_frames_is_off_by_default_and_a_quota_is_not() -> None:
    limits = limits_of()

    assert not limits.has_rate
    assert limits.has_quota


def test_a_quota_can_be_turned_off() -> None:
    assert not limits_of(quota=QuotaSettings(messages_per_s=0.0)).has_quota


def test_a_person_or_a_companys_bot_never_meets_the_default_quota() -> None:
    """All customers at once, and then one every 20 ms all day."""
    limits = limits_of()

    assert [limits.quota_wait_ms("bot", 1, NOW_MS) for _ in range(10_000)] == [0] * 10_000
    assert all(limits.quota_wait_ms("bot", 1, NOW_MS + 20 * n) == 0 for n in range(1, 10_000))


def test_messages_that_are_taken_ahead_are_a_burst_in_all_and_no_more() -> None:
    """A session looks at its author's quota once for many messages."""
    quota = QuotaSettings(messages_per_s=2.0, messages_burst=1600)
    limits = limits_of(quota=quota)

    assert [limits.quota_wait_ms("bot", 1, NOW_MS) for _ in range(1600)] == [0] * 1600
    assert limits.quota_wait_ms("bot", 1, NOW_MS) == 500


def test_who_comes_back_for_each_message_loses_what_was_taken_ahead() -> None:
    settings, authors = Settings(), Senders()

    def is_taken_anew() -> bool:
        return not SessionLimits(settings, authors).quota_wait_ms("bot", 1, NOW_MS)

    assert sum(is_taken_anew() for _ in range(10_000)) >= 10_000 // 17


def test_2_3_2_what_is_wrong_with_the_shape_comes_before_a_quota_too() -> None:
    limits = limits_of(quota=QuotaSettings(messages_per_s=2.0))
    shape, content = Refusal(400, "shape"), Refusal(413, "size", message_id="1", of_content=True)

    assert limits.over_quota(shape, 1500) is shape
    refusal = limits.over_quota(content, 1500)
    assert (refusal.code, refusal.message_id, refusal.retry_after_s) == (429, "1", 2)


def test_a_burst_then_the_rate() -> None:
    limits = limits_of(LimitSettings(frames_per_s=2.0, frames_burst=3))

    assert [limits.is_too_fast(NOW_MS) for _ in range(4)] == [False, False, False, True]
    assert not limits.is_too_fast(NOW_MS + 500)
    assert limits.is_too_fast(NOW_MS + 500)


def test_a_clock_that_goes_back_costs_nothing() -> None:
    limits = limits_of(LimitSettings(frames_per_s=2.0, frames_burst=2))
    limits.is_too_fast(NOW_MS)

    assert not limits.is_too_fast(NOW_MS - 60_000)
    assert limits.is_too_fast(NOW_MS - 60_000)


def test_2_3_2_what_is_wrong_with_the_shape_comes_before_the_rate() -> None:
    limits = limits_of(LimitSettings(frames_per_s=0.1))
    shape, content = Refusal(400, "shape"), Refusal(413, "size", message_id="1", of_content=True)

    assert limits.too_fast("action", shape) is shape
    refusal = limits.too_fast("action", content)
    assert (refusal.code, refusal.message_id, refusal.retry_after_s) == (429, "1", 10)


def test_r28_strikes_count_within_their_window() -> None:
    limits = limits_of(LimitSettings(malformed_frames=3, malformed_window_s=1.0))

    assert not limits.strike(NOW_MS)
    assert not limits.strike(NOW_MS + 500)
    assert not limits.strike(NOW_MS + 1000)
    assert limits.strike(NOW_MS + 1400)
