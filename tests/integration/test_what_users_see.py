"""Each row of what users see (docs/clients.md) is shown by a test; here are those left."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.outside import chromium, node
from tests.outside.frames import ALICE, BOB, CAROL
from tests.outside.waiting import poll_for

from ..documents import ROOT, read
from .conftest import RelayStarter
from .javascript import in_node, in_page, site

HERE: Final = Path(__file__).name
PAGE: Final = "test_javascript_client.py"
PYTHON: Final = "test_python_client.py"

ALL_KINDS: Final = "test_whatever_happens_to_the_connection_each_message_comes_once_in_order"
RENEWED: Final = "test_a_relay_that_is_renewed_costs_no_message"
REPLACED: Final = "test_who_is_replaced_stays_away"

SHOWN_BY: Final = {
    "page": {
        "the network is gone": (PAGE, ALL_KINDS),
        "it is back": (PAGE, ALL_KINDS),
        "the tab is frozen": (PAGE, "test_who_stood_still_loses_nothing"),
        "the lid is closed": (PAGE, "test_who_stood_still_loses_nothing"),
        "the page is loaded anew": (
            PAGE,
            "test_a_page_that_is_loaded_anew_shows_nothing_twice_and_loses_nothing",
        ),
        "two tabs": (PAGE, "test_tabs_share_one_connection_and_the_next_takes_over"),
        "another browser logs in": (PAGE, REPLACED),
        "the clock is wrong": (HERE, "test_a_wrong_clock_of_a_page_changes_no_order"),
        "the server is upgraded": (PAGE, RENEWED),
        "the token ends": (PAGE, "test_a_token_is_renewed_before_its_end"),
        "the other's mailbox is full": (HERE, "test_a_page_is_told_of_a_full_mailbox"),
    },
    "program": {
        "the network is gone": (PYTHON, ALL_KINDS),
        "the network takes all and says nothing": (PYTHON, ALL_KINDS),
        "the process or the machine stands still": (
            "test_closed_lid.py",
            "test_whatever_ran_on_a_machine_whose_lid_was_closed_loses_nothing_and_repeats_nothing",
        ),
        "the same user logs in elsewhere": (PYTHON, REPLACED),
        "the clock is wrong": (PYTHON, "test_a_clock_that_is_wrong_changes_no_order"),
        "the server is upgraded": (PYTHON, RENEWED),
        "the token ends": (PYTHON, "test_a_token_that_nobody_renews_ends_the_client"),
        "the other's mailbox is full": (
            PYTHON,
            "test_a_full_mailbox_is_told_and_the_message_may_be_sent_again",
        ),
    },
}

needs_browser = pytest.mark.skipif(
    chromium.executable() is None or node.executable() is None, reason="needs Chromium and Node"
)


def rows_below(head: str) -> list[str]:
    """Return the first cells of the table whose head says so."""
    _, _, behind = read("docs/clients.md").partition(head)
    table = behind.split("\n\n")[0]
    return re.findall(r"^\| (.*?) \|", table, re.MULTILINE)


def test_each_row_has_a_test_and_each_test_is_there() -> None:
    page = rows_below("| what happens | what a page with the JavaScript client shows |\n|---|---|")
    program = rows_below("| what happens | what a program with the Python client sees |\n|---|---|")

    assert page == list(SHOWN_BY["page"])
    assert program == list(SHOWN_BY["program"])
    for file, name in {each for rows in SHOWN_BY.values() for each in rows.values()}:
        text = (ROOT / "tests" / "integration" / file).read_text()
        assert f"def {name}(" in text, name


@needs_browser
def test_a_page_is_told_of_a_full_mailbox(start_relay: RelayStarter) -> None:
    relay = start_relay(
        config='[server]\nallowed_origins = ["*"]\n[mailbox]\nmax_entries = 1\nauthor_share = 1.0\n'
    )
    program = chromium.executable()
    assert program is not None
    with site() as origin, chromium.open_page(program) as place:
        place.go(f"{origin}/")
        page = in_page(place)
        page.start(relay.url, ALICE)
        page.say(BOB, "one", "two")

        page.wait_for("the refusal", "events.some((each) => each.type === 'failed')")

        [failed] = page.events("failed")
        assert (failed["code"], failed["chat"]) == (507, BOB)
        assert page.run("count('sent')") == 1
        page.run(
            "globalThis.retryable = null;"
            f"client.send('{BOB}', 'three').sent.catch((e) => (retryable = e.retryable)); undefined"
        )
        page.wait_for("the error", "retryable === true")


@needs_browser
def test_a_wrong_clock_of_a_page_changes_no_order(start_relay: RelayStarter) -> None:
    relay = start_relay(config='[server]\nallowed_origins = ["*"]')
    program, other = chromium.executable(), node.executable()
    assert program is not None
    assert other is not None
    with (
        site() as origin,
        chromium.open_page(program) as place,
        node.open_node(other) as second,
    ):
        place.go(f"{origin}/")
        page, bob = in_page(place), in_node(second)
        page.run("Date.now = ((real) => () => real() - 3 * 86400e3)(Date.now); undefined")
        bob.start(relay.url, BOB)
        page.start(relay.url, ALICE)
        page.say(BOB, "one", "two")
        page.wait_for("they are stored", "count('sent') === 2")
        relay.login(CAROL).send_message(BOB, "M", {"conversation": "three"})

        poll_for("all came", lambda: len(bob.got) == 3)

        assert bob.got == ["one", "two", "three"]
        page.wait_for("the ticks", "count('delivered') === 2")
