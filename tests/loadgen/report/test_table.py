"""What the terminal and the page show of a record."""

import re
from io import StringIO
from typing import Any

import msgspec
import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from rich.console import Console

from relay.loadgen.report.changes import unlike
from relay.loadgen.report.page import render
from relay.loadgen.report.record import Outcome, RunRecord
from relay.loadgen.report.remarks import warnings
from relay.loadgen.report.table import show
from tests.loadgen.report.records import load, outcome, record


def test_table_and_page_show_cost_and_ratio() -> None:
    both = record(outcome("relay", 60.0), outcome("reference", 40.0))
    out = StringIO()

    show(Console(file=out, width=120), both)

    lines = out.getvalue().splitlines()
    assert any(line.split() == ["server,", "all", "60.0"] for line in lines)
    assert any(line.split() == ["ratio", "to", "the", "reference", "1.50"] for line in lines)
    assert "<td>ratio to the reference</td><td>1.50</td>" in render(both)


def test_a_busy_generator_is_told() -> None:
    busy = outcome("relay", 60.0)
    busy.phases[0].loads[2] = load("generator", 9.5)

    assert "the generator may be the bottleneck" in warnings(record(busy))[0]
    assert warnings(record(outcome("relay", 60.0))) == []


def shown(record: RunRecord) -> str:
    """Return what the terminal shows."""
    out = StringIO()
    show(Console(file=out, width=120), record)
    return out.getvalue()


def interrupted(phase: str, **changed: Any) -> Outcome:
    return msgspec.structs.replace(outcome("relay", 60.0), interrupted=phase, **changed)


def cut(*outcomes: Outcome) -> RunRecord:
    return msgspec.structs.replace(record(*outcomes), interrupted=True)


@pytest.mark.parametrize("growth", [-1_740, -348_160, 0, 511])
def test_memory_that_cannot_be_told_from_sharing_is_a_dash_and_never_negative(growth: int) -> None:
    one = outcome("relay", 60.0)
    one.pss_logged_in["front"] = one.pss_before["front"] + growth * one.sessions

    told, page = shown(record(one)), render(record(one))

    [row] = [line.split() for line in told.splitlines() if line.startswith("front")]
    assert row[4] == "–"
    assert "<td>–</td>" in page
    for text in (told, re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)):
        assert not re.search(r"[\s>]-\d", text)
    # and the page says what the dash means
    assert "– is too little to be told from a change in that sharing" in page


def test_memory_that_can_be_told_is_in_kib() -> None:
    one = outcome("relay", 60.0)
    one.pss_logged_in["front"] = one.pss_before["front"] + 512 * one.sessions

    assert "0.50" in shown(record(one))
    assert "<td>0.50</td>" in render(record(one))


def test_an_interrupted_run_is_marked_and_shows_what_was_measured() -> None:
    one = cut(interrupted("measured", unjudged=7))

    line = (
        "interrupted: the figures are of what was measured until then; the relay's run ended in "
        "its phase measured; 7 messages were under way and are not judged"
    )
    told, page = shown(one), render(one)
    assert line in told
    assert "server, all" in told
    assert line.replace("'", "&#39;") in page
    assert "interrupted, and every check held until then" in page


def test_a_phase_that_was_not_reached_has_no_figures() -> None:
    one = cut(interrupted("login", phases=[], pss_logged_in={}))

    assert "measured: not reached" in shown(one)
    assert "CPUs busy" not in shown(one)
    assert "measured: not reached" in render(one)


def test_where_only_the_reference_was_measured_its_figures_are_shown_as_such() -> None:
    one = cut(msgspec.structs.replace(outcome("reference", 40.0), interrupted="measured"))

    told = shown(one)
    assert "the relay was not loaded yet, all of it is the reference's" in told
    assert any(line.split() == ["server,", "all", "40.0"] for line in told.splitlines())
    assert render(one)


def test_a_run_that_nobody_interrupted_is_not_marked() -> None:
    one = record(outcome("relay", 60.0))

    assert "interrupted" not in shown(one)
    assert '<p class="interrupted">' not in render(one)


def test_the_page_explains_the_words_that_it_uses_and_no_others() -> None:
    alone, both = (
        re.findall(r"<dt>([^<]*)</dt>", render(record(*outcomes)).partition("<h2>Words</h2>")[2])
        for outcomes in (
            [outcome("relay", 60.0)],
            [outcome("relay", 60.0), outcome("reference", 40.0)],
        )
    )

    for word in ("complete", "lost", "CPUs busy", "waits", "PSS", "ack 1", "p50, p99"):
        assert word in alone
    assert "reference" not in alone
    assert "reference" in both
    assert "login → drained" not in both


def test_table_page_and_comparison_say_over_what_clients_came() -> None:
    plain, way = record(outcome("relay", 100.0)), "wss, TLSv1.3 X, EdDSA tokens"
    secure = record(msgspec.structs.replace(outcome("relay", 100.0), way=way))

    assert f"over {way}" in shown(secure)
    assert "over ws" not in shown(plain)
    assert f"<dt>clients</dt><dd>over {way}</dd>" in render(secure)
    assert "<dt>clients</dt><dd>over ws</dd>" in render(plain)
    assert f"not the same way in: ws / {way}" in unlike(plain, secure)
