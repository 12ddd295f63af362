"""What the cases say, what they are expected to say, and how the two differ; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

EXPECTED: Final = Path(__file__).with_name("expected.toml")
OK: Final = "OK"


class Verdict(msgspec.Struct, frozen=True):
    """What a case says of the messages that came back, and of how the connection was closed."""

    case: str
    behavior: str
    close: str
    why: str

    @property
    def words(self) -> str:
        """Both, as one; OK where both are."""
        return OK if self.behavior == self.close == OK else f"{self.behavior}, close {self.close}"

    @property
    def chapter(self) -> str:
        """The case's first number."""
        return self.case.partition(".")[0]


class KnownException(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Cases that say something else than OK, and the reason for which that is left as it is."""

    cases: list[str]
    verdict: str
    reason: str


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The chapters with their numbers of cases, and the exceptions."""

    chapters: Mapping[str, int]
    exceptions: list[KnownException]

    def words_of(self, case: str) -> str:
        """Return what `case` is to say."""
        for exception in self.exceptions:
            if case in exception.cases:
                return exception.verdict
        return OK

    def differs(self, verdict: Verdict) -> bool:
        """Whether a case says something else than it is to."""
        return verdict.words != self.words_of(verdict.case)


def read_expected() -> Expected:
    """Return what stands in the table beside this file."""
    return msgspec.toml.decode(EXPECTED.read_bytes(), type=Expected)


def faults(expected: Expected, verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Say in a line each what is not as expected; an exception that does not occur is not."""
    found = {verdict.case: verdict for verdict in verdicts}
    for verdict in found.values():
        if expected.differs(verdict):
            wanted = expected.words_of(verdict.case)
            yield f"{verdict.case}: {verdict.words}, expected {wanted}. {verdict.why}"
    for exception in expected.exceptions:
        for case in exception.cases:
            if case not in found:
                yield f"{case}: is an exception, but did not run"
    for chapter, count in expected.chapters.items():
        ran = sum(verdict.chapter == chapter for verdict in found.values())
        if ran != count:
            yield f"chapter {chapter}: {ran} cases ran, expected {count}"


def table(expected: Expected, verdicts: Iterable[Verdict]) -> list[str]:
    """Return a line a chapter, and one an exception with its reason."""
    found = list(verdicts)
    lines = ["chapter  cases   OK  exceptions  not as expected"]
    for chapter in expected.chapters:
        own = [verdict for verdict in found if verdict.chapter == chapter]
        wrong = sum(map(expected.differs, own))
        right = sum(verdict.words == OK and not expected.differs(verdict) for verdict in own)
        known = len(own) - right - wrong
        lines.append(f"{chapter:>7}  {len(own):5}  {right:3}  {known:10}  {wrong:15}")
    reasons = [
        f"{', '.join(exception.cases)}: {exception.verdict}. {exception.reason}"
        for exception in expected.exceptions
    ]
    return [*lines, "", *reasons]
