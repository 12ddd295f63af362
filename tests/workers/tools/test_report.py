"""The report of a check."""

import pytest

from workers.tools import report as report_module
from workers.tools.report import MAX_FINDINGS, Finding, Report


def test_findings_are_counted_but_their_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MAX_FINDINGS", 3)
    report = Report()

    for number in range(20):
        report.add("worker-0", "mail", str(number), "is wrong")

    assert [finding.key for finding in report.findings] == ["0", "1", "2"]
    assert report.total == 20
    assert MAX_FINDINGS == 200


def test_two_reports_have_nothing_in_common() -> None:
    Report().add("worker-0", "", "", "is wrong")

    assert Report().findings == []


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding("worker-0", "mail", "bob 7", "is wrong"), "worker-0 mail bob 7: is wrong"),
        (Finding("worker-0", "", "", "data.mdb is missing"), "worker-0: data.mdb is missing"),
    ],
)
def test_a_finding_is_a_line(finding: Finding, text: str) -> None:
    assert str(finding) == text
