"""What a relay under test has logged: a JSON object a line."""

import json
from pathlib import Path
from typing import Any


class Log:
    """The log file of one relay, which may go on being written; `keep` outlives the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept = ""
        self._expected: list[str] = []

    def text(self) -> str:
        """Everything so far."""
        if not self.path.exists():
            return self._kept
        return self.path.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines so far with this event."""
        # The last line may not be whole yet, and who hangs and is ended leaves a dump of its stack.
        whole = self.text().split("\n")[:-1]
        events = [json.loads(line) for line in whole if line.startswith("{")]
        return [event for event in events if event["event"] == name]

    def expect(self, text: str) -> None:
        """Lines with `text` are part of the test, whatever their level."""
        self._expected.append(text)

    def faults(self) -> list[str]:
        """The lines with a traceback or at level error, and those that are no JSON object."""
        return [line for line in self.text().splitlines() if self._is_fault(line)]

    def _is_fault(self, line: str) -> bool:
        if any(text in line for text in self._expected):
            return False
        if "Traceback" in line or not line.startswith("{"):
            return True
        return json.loads(line)["level"] in ("error", "critical", "exception")

    def assert_clean(self) -> None:
        """No traceback and nothing at level error; every line is one JSON object."""
        faults = self.faults()
        assert not faults, faults[0]

    def keep(self) -> None:
        """Hold on to the text: the file is about to go."""
        self._kept = self.text()
