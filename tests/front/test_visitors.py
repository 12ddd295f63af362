"""The lines about clients, and when there are none."""

from structlog.testing import capture_logs

from relay.front.visitors import Visitors


def test_they_are_asked_for_at_level_debug_alone() -> None:
    visitors = Visitors("info")
    assert not visitors.are_logged

    visitors.adopt("debug")
    assert visitors.are_logged


def test_who_comes_logs_in_and_goes_is_a_line_each() -> None:
    visitors = Visitors("debug")
    with capture_logs() as lines:
        visitors.came(1, ("192.0.2.1", 5))
        visitors.came(2, ("::1", 5, 0, 0))
        visitors.came(3, None)
        visitors.logged_in(1, "123")
        visitors.went(1, "123", sent=1012, received=None)

    assert [line.get("address") for line in lines[:3]] == ["192.0.2.1:5", "[::1]:5", "unknown"]
    assert (lines[3]["event"], lines[3]["session"], lines[3]["user"]) == (
        "client.logged_in",
        1,
        "123",
    )
    assert (lines[4]["close_sent"], lines[4]["close_received"]) == (1012, None)
