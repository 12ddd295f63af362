"""What looks at the relay from outside shares no frame with it, so no mistake either."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = sorted(path for path in HERE.glob("*.py") if not path.name.startswith("test_"))

# Which worker owns whom, and how stores are laid out ahead of a start: no frame is made of either.
ALLOWED = {"relay.protocol.slots", "relay.settings.tables", "workers.tools.reshard"}


def taken_from_the_relay(source: str) -> Iterator[str]:
    """Yield the modules of the relay that `source` imports, wherever it does."""
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            names = [node.module]
        yield from (name for name in names if name.split(".")[0] in ("relay", "workers"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.stem))
def test_nothing_here_takes_a_frame_from_the_relay(path: Path) -> None:
    assert set(taken_from_the_relay(path.read_text())) <= ALLOWED


@pytest.mark.parametrize(
    "source",
    [
        "from relay.protocol.frames import auth_failure",
        "import relay.protocol.codec",
        "def f():\n    from relay.loadgen.verify import clientframes",
        "from relay.protocol import codec",
    ],
)
def test_a_frame_taken_from_the_relay_would_be_found(source: str) -> None:
    assert not set(taken_from_the_relay(source)) <= ALLOWED
