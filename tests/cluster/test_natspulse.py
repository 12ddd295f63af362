"""When a server is asked for a sign of life, and when it is given up."""

from relay.cluster.natspulse import Due, Pulse


def test_a_ping_is_due_once_a_second() -> None:
    pulse = Pulse(0.0)

    assert pulse.due(0.9) is Due.NOTHING
    assert pulse.due(1.0) is Due.PING
    assert pulse.due(1.5) is Due.NOTHING
    pulse.heard(1.6)
    pulse.answered()
    assert pulse.due(2.0) is Due.PING
    assert pulse.next_s == 3.0


def test_a_silent_server_is_given_up_after_two_unanswered_pings() -> None:
    pulse = Pulse(0.0)

    assert [pulse.due(float(now_s)) for now_s in (1, 2, 3)] == [Due.PING, Due.PING, Due.GIVE_UP]


def test_one_that_sends_much_and_has_yet_to_answer_is_not_given_up_at_once() -> None:
    pulse = Pulse(0.0)

    found = []
    for now_s in range(1, 12):
        pulse.heard(now_s - 0.1)
        found.append(pulse.due(float(now_s)))

    assert found == [*10 * [Due.PING], Due.GIVE_UP]  # it may no longer hear


def test_who_slept_himself_does_not_blame_the_server() -> None:
    pulse = Pulse(0.0)
    pulse.due(1.0)
    pulse.due(2.0)

    pulse.heard(60.0)  # what had come meanwhile, read before `due`
    pulse.answered()

    assert pulse.due(60.0) is Due.PING
