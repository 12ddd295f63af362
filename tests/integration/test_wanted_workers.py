"""An operator wants another number of workers, and the next start lays the stores out for it."""

from __future__ import annotations

import pytest

from tests.outside.frames import ALICE
from tests.outside.operator import Operator
from tests.outside.relay import Relay
from tests.outside.waiting import poll_for

from .conftest import RelayStarter
from .test_admin import command

pytestmark = pytest.mark.ordeal


@pytest.fixture
def relay(start_relay: RelayStarter) -> Relay:
    """One whose settings file says that there are two workers."""
    relay = start_relay(admin=True, config="[server]\nworkers = 2\n", says_workers=False)
    Operator(relay).ask("/api/v1/status")
    return relay


def want(relay: Relay, workers: object) -> tuple[int, str, str]:
    answer = Operator(relay).ask("/api/v1/workers", method="PUT", body={"workers": workers})
    return answer.status, answer.json.get("state", ""), answer.json["detail"]


def restart(relay: Relay, *, workers: int) -> None:
    relay.stop()
    relay._workers = workers  # that the ready line is to say
    relay.start()
    poll_for("its workers", lambda: len(relay.children("worker")) == workers)
    Operator(relay).ask("/api/v1/status")


def wanted(relay: Relay) -> object:
    return Operator(relay).ask("/api/v1/status").json["workers_wanted"]


def test_the_next_start_has_as_many_and_each_after_it(relay: Relay) -> None:
    author = relay.login("writer")
    author.send_message(ALICE, "M1")
    author.recv()
    relay.drop_clients()

    assert want(relay, 3) == (200, "done", "2 workers run; from the next start on 3")

    assert (len(relay.children("worker")), wanted(relay)) == (2, 3)
    assert "from the next start on 3 workers" in command(relay, "status").stdout
    restart(relay, workers=3)
    assert wanted(relay) is None
    restart(relay, workers=3)
    assert [frame[2][0]["key"]["id"] for frame in relay.login(ALICE).queued] == ["M1"]


def test_it_holds_though_the_admin_and_everything_is_killed_at_once(relay: Relay) -> None:
    assert want(relay, 1)[1] == "done"
    relay.kill_everything()
    relay._workers = 1

    relay.start()

    assert len(relay.children("worker")) == 1


def test_who_changes_the_settings_file_later_means_that(relay: Relay) -> None:
    assert want(relay, 3)[1] == "done"
    relay.config_path.write_text("[server]\nworkers = 1\n")

    restart(relay, workers=1)


def test_to_want_what_the_settings_say_takes_it_back(relay: Relay) -> None:
    assert want(relay, 3)[1] == "done"

    done = command(relay, "workers", "2")

    assert (done.returncode, done.stdout) == (0, "workers 2: done: 2 workers run, and stay\n")
    assert wanted(relay) is None
    restart(relay, workers=2)


def test_a_reload_does_not_take_it_for_a_change(relay: Relay) -> None:
    assert want(relay, 3)[1] == "done"
    restart(relay, workers=3)

    done = command(relay, "reload")

    assert (done.returncode, "restart" in done.stdout) == (0, False)


def test_the_command_line_counts_over_it(start_relay: RelayStarter) -> None:
    relay = start_relay(admin=True)

    status, state, detail = want(relay, 3)

    assert (status, state, "command line" in detail) == (200, "failed", True)
    assert command(relay, "workers", "3").returncode == 1


@pytest.mark.parametrize("workers", [0, -1, 100_000, "two", None])
def test_what_is_no_number_of_workers_is_refused(relay: Relay, workers: object) -> None:
    assert want(relay, workers)[0] == 400
