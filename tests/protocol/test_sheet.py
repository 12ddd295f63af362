"""Sheet notation: read to the value it shows, or refused with 400 (R1)."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import FrameError
from relay.protocol.sheet import to_json

MAX_DEPTH = 32

DELIVERY = (
    """[action,{'add': 'relay'},[{"key": {"fromMe": false, "id": "3EB0A1ED1B05362823BC", """
    """"remoteJid": "917069852821@s.whatsapp.com"}, "message": {"conversation": "Test msg"}, """
    """"messageTimestamp": "1566970629"}]]"""
)
DELIVERY_VALUE = [
    "action",
    {"add": "relay"},
    [
        {
            "key": {
                "fromMe": False,
                "id": "3EB0A1ED1B05362823BC",
                "remoteJid": "917069852821@s.whatsapp.com",
            },
            "message": {"conversation": "Test msg"},
            "messageTimestamp": "1566970629",
        }
    ],
]


def read(text: str, max_depth: int = MAX_DEPTH) -> Any:
    return json.loads(to_json(text, max_depth=max_depth))


def refusal(text: str, max_depth: int = MAX_DEPTH) -> str:
    with pytest.raises(FrameError) as caught:
        to_json(text, max_depth=max_depth)
    assert caught.value.refusal.code == 400
    assert caught.value.refusal.reason
    return caught.value.refusal.reason


@pytest.mark.parametrize(
    ("frame", "value"),
    [
        (
            """[auth,{"from": "backend", "status": "success"}]""",
            ["auth", {"from": "backend", "status": "success"}],
        ),
        (
            """["action", {"add": "relay"}, [{"message": {"conversation": 'message'}, "key": {
    "remoteJid": '919428284313@s.whatsapp.com', "fromMe": True, "id": '3EB0A1ED1B05362823BC'}, """
            """"messageTimestamp":'1566970629'}]]""",
            [
                "action",
                {"add": "relay"},
                [
                    {
                        "message": {"conversation": "message"},
                        "key": {
                            "remoteJid": "919428284313@s.whatsapp.com",
                            "fromMe": True,
                            "id": "3EB0A1ED1B05362823BC",
                        },
                        "messageTimestamp": "1566970629",
                    }
                ],
            ],
        ),
        (DELIVERY, DELIVERY_VALUE),
        (
            "[Msg,{'id': '3EB0A1ED1B05362823BC', 'ack': 2, 'cmd': 'ack', 'to': "
            "'919428284313@c.us', 't': '1566971275', 'from': '917069852821@c.us'}]",
            [
                "Msg",
                {
                    "id": "3EB0A1ED1B05362823BC",
                    "ack": 2,
                    "cmd": "ack",
                    "to": "919428284313@c.us",
                    "t": "1566971275",
                    "from": "917069852821@c.us",
                },
            ],
        ),
        (
            """[MsgInfo, {"from": "917069852821@c.us", "ack": 2, "cmd": "ack","to": """
            """"917069852821-1566557065@g.us", "participant": "919428284313@sc.us" , """
            """"id": "3EB0F517CDA590E6B488", "t": "1566971560"}]""",
            [
                "MsgInfo",
                {
                    "from": "917069852821@c.us",
                    "ack": 2,
                    "cmd": "ack",
                    "to": "917069852821-1566557065@g.us",
                    "participant": "919428284313@sc.us",
                    "id": "3EB0F517CDA590E6B488",
                    "t": "1566971560",
                },
            ],
        ),
    ],
    ids=["auth", "send", "delivery", "Msg", "MsgInfo"],
)
def test_r1_frames_as_printed_in_the_sheet_are_read(frame: str, value: object) -> None:
    assert read(frame) == value


def test_r1_the_queue_as_printed_in_the_sheet_is_read_with_the_string_inside() -> None:
    escaped = DELIVERY.replace('"', '\\"')

    tag, body = read(f'[q,{{"data": "[[],{escaped}]", "from": "backend"}}]')

    assert tag == "q"
    assert body["from"] == "backend"
    assert read(body["data"]) == [[], DELIVERY_VALUE]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[Msg]", ["Msg"]),
        (" \t\r\n[ Msg , 1 ]\n", ["Msg", 1]),
        ("[Msg,]", ["Msg"]),
        ("[Msg,{'a':1,},[1,2,],]", ["Msg", {"a": 1}, [1, 2]]),
        ("[True,False,None,true,false,null]", [True, False, None, True, False, None]),
        ("[m, None, {'a': [None, True]}]", ["m", None, {"a": [None, True]}]),
        ("[]", []),
        ("[m,{},[]]", ["m", {}, []]),
        ("[m, -0.5e+3, 1E2, 0, -1]", ["m", -500.0, 100.0, 0, -1]),
        (r"""['say "hi"', "it's", 'it\'s', "it\'s", '\"']""", ['say "hi"', *["it's"] * 3, '"']),
        (r"""['\\', '\\\'', "\\", "\\\"", '\\"']""", ["\\", "\\'", "\\", '\\"', '\\"']),
        (r"['\n\t\b\f\r\/\u00e9\ud83d\ude42']", ["\n\t\b\f\r/é🙂"]),
        ("['é🙂', \"п\"]", ["é🙂", "п"]),
        ("['[x,', '{True', ',]', \",}\"]", ["[x,", "{True", ",]", ",}"]),
        ("{'a':1}".join("[]"), [{"a": 1}]),
    ],
)
def test_r1_notation(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "1",
        "'a'",
        "{'a': 1}",
        "[",
        "]",
        "[Msg",
        "[Msg,{]}",
        "[Msg]]",
        "[Msg][Msg]",
        "[Msg] x",
        "[,]",
        "[ , ]",
        "[,1]",
        "[m,{,}]",
        "[m,{ ,'a':1}]",
        "[1,,]",
        "[1,,2]",
        "[1 2]",
        "['a' 'b']",
        "['a'True]",
        "[m 'a']",
        "[m'a']",
        "[m:1]",
        "[m,{'a'}]",
        "[m,{'a':}]",
        "[m,{'a':,}]",
        "[m,{'a',}]",
        "[m,{'a':1 'b':2}]",
        "[m,{a:1}]",
        "[m,{True:1}]",
        "[m,{1:2}]",
        "[m,{None}]",
        "[m,n]",
        "[m,True1]",
        "[m,1True]",
        "[m,-True]",
        "[m,'a'.upper()]",
        "[m,(1,2)]",
        "[m,1+1]",
        "[m,0x10]",
        "[m,1_000]",
        "[m,01]",
        "[m,1.]",
        "[m,.5]",
        "[m,+1]",
        "[m,-]",
        "[m,1e]",
        "[m,1e5x]",
        "[NaN]",
        "[m,NaN]",
        "[m,Infinity]",
        "[m,-Infinity]",
        "[m,nan,inf]",
        "[m,u'a']",
        "[m,b'a']",
        "[m,'''a''']",
        "[m,'a]",
        "[m,\"a']",
        "[m,'a\\']",
        "[m,'\\x41']",
        "[m,'\\0']",
        "[m,'\\u12']",
        "[m,'\\U0001f642']",
        "[m,'\\\n']",
        "[m] # a comment",
        "[m, /* a comment */ 1]",
        "\N{ZERO WIDTH NO-BREAK SPACE}[m]",
        "[m,\N{NO-BREAK SPACE}1]",
        "[ё]",
        "[m, ١]",
    ],
)
def test_r1_everything_else_is_refused(text: str) -> None:
    refusal(text)


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("content", ["\n", "\t", "\x00", "\x1f", "\ud800"])
def test_control_characters_and_lone_surrogates_are_refused(quote: str, content: str) -> None:
    string = f"{quote}a{content}b{quote}"

    refusal(f"[m,{string}]")
    refusal(f"[m,{{{string}: 1}}]")


@pytest.mark.parametrize("content", [r"\udc00\ud800", r"\ud800\u0041", r"\ud800x\udc00", r"\ud800"])
def test_escaped_surrogates_count_only_as_pairs(content: str) -> None:
    refusal(f"[m,'{content}']")


def test_a_word_is_a_tag_of_a_frame_or_of_a_frame_in_a_list_and_nothing_deeper() -> None:
    assert read("[m,[n]]") == ["m", ["n"]]
    refusal("[m,[[n]]]")
    refusal("[m,{'message':{'list':[n]}}]")


@pytest.mark.parametrize(("before", "after"), [("[", "]"), ("{'a':", "}")])
def test_nesting_is_bounded(before: str, after: str) -> None:
    depth = 5
    deepest = "[" + before * (depth - 1) + "1" + after * (depth - 1) + "]"

    assert read(deepest, max_depth=depth)
    assert "nesting exceeds 4" in refusal(deepest, max_depth=depth - 1)


def test_brackets_inside_strings_do_not_nest() -> None:
    assert read("[m,'[[[[{{{{']", max_depth=1) == ["m", "[[[[{{{{"]


def test_numbers_keep_their_text() -> None:
    text = "[1.50,1e2,123456789012345678901234567890,0.1000000000000000055]"

    assert to_json(text, max_depth=1).decode() == text


@pytest.mark.parametrize(
    "unit", ["[", "[ ", "{", "'", '"', "\\", "'\\", ", ", " ", "[,", "a", "1", "a\n", "[a ", "''"]
)
@pytest.mark.timeout(10)
def test_hostile_repetition_takes_linear_time(unit: str) -> None:
    for start in ("[", "['", '["', "[m,", "[,"):
        try:
            to_json((start + unit * 262_144)[:262_144], max_depth=MAX_DEPTH)
        except FrameError as error:
            assert error.refusal.code == 400  # noqa: PT017 - some of them are fine frames


# Round trips

# Drawing nested values takes far longer than reading them.
few = settings(max_examples=50, deadline=None)

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=12) | st.text("'\"\\/ab\n,[]{}:", max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
spaces = st.sampled_from(["", "", " ", "\n\t "])


def quoted(draw: st.DrawFn, text: str) -> str:
    quote = draw(st.sampled_from("'\""))
    plain = draw(st.booleans())  # leave non-ASCII as it is
    escaped = json.dumps(text, ensure_ascii=not plain)[1:-1]
    if quote == "'":
        # Of what json.dumps escapes only the quote may differ inside single quotes.
        escaped = escaped.replace("'", "\\'")
        if draw(st.booleans()):
            escaped = "\\\\".join(part.replace('\\"', '"') for part in escaped.split("\\\\"))
    elif draw(st.booleans()):
        escaped = escaped.replace("'", "\\'")
    return quote + escaped + quote


def spelled(draw: st.DrawFn, value: Any) -> str:
    space = draw(spaces)
    comma = draw(st.sampled_from(["", ","]))
    if isinstance(value, bool) or value is None:
        words = {None: ("null", "None"), True: ("true", "True"), False: ("false", "False")}
        return draw(st.sampled_from(words[value]))
    if isinstance(value, str):
        return quoted(draw, value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        inner = f"{space},{space}".join(spelled(draw, element) for element in value)
        left, right = "[]"
    else:
        inner = f"{space},{space}".join(
            f"{quoted(draw, key)}{space}:{space}{spelled(draw, element)}"
            for key, element in value.items()
        )
        left, right = "{}"
    return f"{left}{space}{inner}{space}{comma if value else ''}{space}{right}"


@st.composite
def frames(draw: st.DrawFn) -> tuple[list[Any], str]:
    """A value and one of its spellings."""
    tag = draw(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True))
    rest = draw(st.lists(values, max_size=3))
    if tag in {"true", "false", "null", "True", "False", "None", "NaN", "Infinity"}:
        tag += "_"
    text = ",".join([tag, *(spelled(draw, element) for element in rest)])
    return [tag, *rest], f"[{text}]"


@few
@given(frames())
def test_r1_every_spelling_of_a_value_gives_the_value(frame: tuple[list[Any], str]) -> None:
    value, text = frame

    assert read(text) == value


@few
@given(st.lists(values, max_size=3))
def test_r1_strict_json_comes_back_as_it_was(value: list[Any]) -> None:
    text = json.dumps(value)

    assert to_json(text, max_depth=MAX_DEPTH).decode() == text


printable = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=12)


@few
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | printable,
            lambda inner: (
                st.lists(inner, max_size=4) | st.dictionaries(printable, inner, max_size=4)
            ),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_r1_what_python_prints_for_a_list_gives_the_list(value: object) -> None:
    assert read(repr(value)) == value


def check_fuzzed(text: str) -> None:
    try:
        result = to_json(text, max_depth=4)
    except FrameError as error:
        assert error.refusal.code == 400  # noqa: PT017 - either outcome is fine
        return
    assert isinstance(json.loads(result), list)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    check_fuzzed(text)
    check_fuzzed(f"[{text}]")


@given(st.lists(st.sampled_from(["[", "]", "{", "}", ",", ":", "'", '"', "\\", " ", "\n", "a",
                                 "True", "null", "NaN", "-", "0", "1", ".", "e", "\\u", "d800",
                                 "'a'", '"b"', "'a':", "\ud800", "é"])))  # fmt: skip
def test_any_sequence_of_tokens_is_read_or_refused(tokens: list[str]) -> None:
    check_fuzzed("[" + "".join(tokens))
    check_fuzzed("[" + "".join(tokens) + "]")


@few
@given(frames(), st.data())
def test_a_damaged_frame_is_read_or_refused(
    frame: tuple[list[Any], str], data: st.DataObject
) -> None:
    _, text = frame
    at = data.draw(st.integers(0, len(text)))

    check_fuzzed(text[:at])
    check_fuzzed(text[:at] + data.draw(st.sampled_from("[]{},:'\"\\ a1\x00")) + text[at:])
    check_fuzzed(text[:at] + text[at + 1 :])
