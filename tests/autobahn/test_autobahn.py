"""RFC 6455 as the Autobahn test suite sees it: framing, UTF-8, fragments, closing, sizes."""

import pytest

from .suite import run_suite
from .verdicts import OK, Expected, KnownException, Verdict, faults, read_expected, table

EXPECTED = Expected(
    chapters={"1": 2, "7": 1},
    exceptions=[KnownException(["7.1"], "FAILED, close OK", "for a reason")],
)


def verdict(case: str, behavior: str = OK, close: str = OK) -> Verdict:
    return Verdict(case, behavior, close, "Because.")


AS_EXPECTED = [verdict("1.1"), verdict("1.2"), verdict("7.1", "FAILED")]


def faults_with(*others: Verdict) -> list[str]:
    verdicts = {each.case: each for each in (*AS_EXPECTED, *others)}
    return list(faults(EXPECTED, verdicts.values()))


@pytest.mark.ordeal
@pytest.mark.timeout(300)
def test_every_case_says_what_is_expected_of_it() -> None:
    expected = read_expected()

    verdicts = run_suite(expected, print)

    assert list(faults(expected, verdicts)) == [], "\n".join(table(expected, verdicts))


def test_cases_that_say_what_is_expected_are_no_fault() -> None:
    assert faults_with() == []


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (verdict("1.1", "FAILED"), "1.1: FAILED, close OK, expected OK. Because."),
        (verdict("1.1", close="UNCLEAN"), "1.1: OK, close UNCLEAN, expected OK. Because."),
        (verdict("7.1"), "7.1: OK, expected FAILED, close OK. Because."),
        (verdict("7.1", "ERROR"), "7.1: ERROR, close OK, expected FAILED, close OK. Because."),
    ],
)
def test_a_failing_case_is_a_fault_and_an_exception_that_no_longer_occurs(
    found: Verdict, line: str
) -> None:
    assert faults_with(found) == [line]


def test_a_case_that_did_not_run_is_a_fault() -> None:
    assert list(faults(EXPECTED, AS_EXPECTED[1:])) == ["chapter 1: 1 cases ran, expected 2"]
    assert list(faults(EXPECTED, AS_EXPECTED[:2])) == [
        "7.1: is an exception, but did not run",
        "chapter 7: 0 cases ran, expected 1",
    ]


def test_the_table_counts_by_chapter_and_gives_the_reasons() -> None:
    wrong = [verdict("1.1", "FAILED"), *AS_EXPECTED[1:]]

    assert table(EXPECTED, wrong) == [
        "chapter  cases   OK  exceptions  not as expected",
        "      1      2    1           0                1",
        "      7      1    0           1                0",
        "",
        "7.1: FAILED, close OK. for a reason",
    ]
