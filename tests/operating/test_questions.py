"""The ten questions of an operator: what docs/operating.md answers them with is there."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from relay.command import PROGRAMS

ROOT = Path(__file__).parent.parent.parent
TITLE = "### Ten questions, and what answers them"


def rows() -> list[list[str]]:
    section = (ROOT / "docs/operating.md").read_text().partition(TITLE)[2].partition("\n\n**")[0]
    lines = [line for line in section.splitlines() if re.match(r"\| \d", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_there_are_ten() -> None:
    assert [row[0] for row in rows()] == [str(n) for n in range(1, 11)]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_each_command_exists_and_takes_what_it_is_given(row: list[str]) -> None:
    name, *words = row[2].strip("`").removeprefix("relay ").split()
    module, _, attribute = PROGRAMS[name].target.partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    if isinstance(command, click.Group):
        subcommand = words.pop(0)
        command = command.commands[subcommand]

    command.make_context(name, words)  # raises a UsageError where they do not fit


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[1])
def test_what_is_named_of_the_page_is_on_it(row: list[str]) -> None:
    console = ROOT / "relay/admin/console"
    page = (console / "index.html").read_text() + (console / "console.js").read_text()
    for named in re.findall(r"\*([^*]+)\*", row[3]):
        assert f">{named}<" in page or f'"{named}"' in page
