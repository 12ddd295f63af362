"""What `relay console` says, and does not, of a browser that leaves."""

from __future__ import annotations

from typing import cast

import pytest

from relay.operating.console import _Server
from relay.operating.line import Line


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        (BrokenPipeError(32, "gone"), False),
        (ConnectionResetError(104, "gone"), False),
        (ValueError("a fault"), True),
    ],
)
def test_a_browser_that_leaves_amid_an_answer_is_no_fault(
    error: Exception, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with _Server(cast(Line, None), 0) as server:
        try:
            raise error
        except (OSError, ValueError):
            server.handle_error(None, ("127.0.0.1", 1))

    assert ("Traceback" in capsys.readouterr().err) == is_told
