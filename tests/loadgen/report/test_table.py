"""What the terminal and the page show of a record."""

from io import StringIO

import pytest

pytest.importorskip("hdrh", reason="the extra `load` is not installed")

from rich.console import Console

from relay.loadgen.report.page import render
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
