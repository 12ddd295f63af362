"""What makes two messages equal (R20), and what numbers in them may cost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import FrameError
from relay.protocol.content import decode_any, decode_object, digest_of

integers = st.integers(-(2**80), 2**80) | st.sampled_from(
    [2**63, 2**64, 2**64 - 1, 2**64 + 1, 10**19, 10**20, 10**22, 2**200, -(2**64), 3 * 2**70]
)
values = st.recursive(
    integers | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)


def digest(text: str) -> bytes:
    return digest_of(decode_object(text.encode()))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('{"conversation":"Test msg"}', "49459ef9e48b9860"),
        (
            '{"extendedTextMessage":{"text":"é 🙂 \\"x\\" \\\\",'
            '"contextInfo":{"n":[1,2.5,-0.0,1e3,1e15,true,null]}}}',
            "4af43b5539ab09d9",
        ),
        (
            '{"n":[9007199254740993,18446744073709551615,-9223372036854775808,1e19,'
            "18446744073709551617,12345678901234567890123]}",
            "016f14fd1c5d3c8b",
        ),
    ],
)
def test_digests_that_are_stored_stay_what_they_are(message: str, expected: str) -> None:
    assert digest(message).hex() == expected


@pytest.mark.parametrize(
    "equal",
    [
        ["1", "1.0", "1e0", "10E-1"],
        ["0", "-0", "0.0", "-0.0", "0e9"],
        ["9007199254740993", "9007199254740993"],
        ["9223372036854775808", "9.223372036854775808e18", "9223372036854775808.0"],
        ["18446744073709551616", "1.8446744073709551616e19", "18446744073709551616.0"],
        ["-18446744073709551616", "-1.8446744073709551616e19"],
        [str(10**22), "1e22", "1E+22", "10.0e21"],
        [str(int(1e300)), "1e300", "10e299"],
        [str(-int(1.7976931348623157e308)), "-1.7976931348623157e308"],
    ],
)
def test_a_number_is_the_same_however_it_is_written(equal: list[str]) -> None:
    for message in ('{"n":%s}', '{"n":[{"s":"5","n":%s}],"s":"\\"1,\\\\"}', '{"n":["",%s,""]}'):
        assert len({digest(message % number) for number in equal}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18446744073709551616", "18446744073709551617"),
        ("18446744073709551617", "1.8446744073709551616e19"),
        ("9007199254740993", "9007199254740992"),
        (str(10**23), "1e23"),  # which is no double
        ("1e300", "1.000000000000001e300"),
        ("18446744073709551616", '"18446744073709551616"'),
        ('"18446744073709551616"', '"1.8446744073709552e19"'),
        ('"a\\"18446744073709551616"', '"a\\"1.8446744073709552e19"'),
        ('"\\\\",18446744073709551616', '"\\\\",18446744073709551617'),
    ],
)
def test_numbers_that_differ_and_digits_in_strings_are_told_apart(one: str, other: str) -> None:
    assert digest(f'{{"n":[{one}]}}') != digest(f'{{"n":[{other}]}}')


@given(st.dictionaries(st.text(max_size=5), values, min_size=1, max_size=3), values)
def test_messages_have_one_digest_exactly_if_python_says_that_they_are_equal(
    message: dict[str, Any], other: Any
) -> None:
    # Python too compares an integer with a double exactly.
    text = json.dumps(message)
    assert digest(text) == digest(json.dumps(_floats_for_integers(message)))
    changed = {**message, next(iter(message)): other}
    assert (digest(text) == digest(json.dumps(changed))) == (message == changed)


def _floats_for_integers(value: Any) -> Any:
    match value:
        case int() if float(value) == value:
            return float(value)
        case list():
            return [_floats_for_integers(each) for each in value]
        case dict():
            return {key: _floats_for_integers(each) for key, each in value.items()}
    return value


@pytest.mark.parametrize("number", ["1" + "0" * 309, "-" + "9" * 4000])
def test_r25_an_integer_beyond_a_double_is_refused(number: str) -> None:
    with pytest.raises(FrameError, match="beyond a double"):
        digest(f'{{"n":[{number}]}}')


def test_a_large_number_stays_a_double_and_is_no_integer_of_hundreds_of_digits() -> None:
    assert type(decode_any(b"1e300")) is float
    assert type(decode_any(b"1e19")) is int
