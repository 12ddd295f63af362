"""The import graph that `make imports` prints."""

from pathlib import Path

import pytest

from . import import_graph
from .import_graph import graph_of, lines_of, main

BUS = ("relay.bus.link", "import relay.bus.envelopes\nfrom relay.protocol.jid import Jid")
FRONT = ("relay.front.session", "import asyncio\nfrom relay.bus.link import Outgoing")
PROTOCOL = ("relay.protocol.jid", "import relay.errors")


def test_a_room_stands_below_what_it_imports() -> None:
    assert list(lines_of(graph_of([FRONT, PROTOCOL, BUS]))) == [
        "relay.protocol -> relay.errors",
        "relay.bus      -> relay.protocol",
        "relay.front    -> relay.bus",
    ]


def test_an_arrow_that_points_up_is_marked() -> None:
    wrong = ("relay.protocol.jid", "import relay.front.session, relay.errors, tests.chaos")

    (line,) = lines_of(graph_of([wrong]))

    assert line == "relay.protocol -> relay.errors, !tests, !relay.front"


@pytest.mark.slow
def test_the_sources_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0

    said = capsys.readouterr()
    assert "relay.front " in said.out
    assert "!" not in said.out
    assert said.err == ""


def test_a_wrong_arrow_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "jid.py"
    source.write_text("import relay.front.session")
    monkeypatch.setattr(import_graph, "SOURCES", [source])
    monkeypatch.setattr(import_graph, "module_of", lambda path: "relay.protocol.jid")

    assert main() == 1

    assert capsys.readouterr().err == (
        "points up: relay.protocol.jid line 1 imports relay.front.session\n"
    )
