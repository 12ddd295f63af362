"""Frames from clients: what each one means, what is refused and how, and that nothing else happens.

A frame that starts with a correlation prefix takes the general way through the codec, the same
frame without it may take the fast one; several tests hold the two against each other.
"""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import FrameError, Refusal
from relay.protocol.codec import SERVER_KEYS, Codec
from relay.protocol.nesting import LONG_BYTES
from relay.protocol.stanza import MAX_ID_CHARS, Ack, Action, Auth, InvalidAuth, Send, Stanza, Token
from relay.settings.tables import LimitSettings

ALICE, BOB = "917069852821", "919428284313"
GROUP = "917069852821-1566557065"
SENT_AT = 1_566_970_629
NOW_S = SENT_AT + 60
ID = "3EB0A1ED1B05362823BC"

CODEC = Codec(LimitSettings())
SMALL = Codec(LimitSettings(message_bytes=300, messages_per_action=3, ids_per_ack=3, nesting=8))

Json = dict[str, Any] | list[Any] | str | int | float | bool | None


def element(
    message: Json = None, *, message_id: Json = ID, to: Json = BOB, **members: Json
) -> dict[str, Any]:
    return {
        "key": {"fromMe": True, "id": message_id, "remoteJid": to},
        "message": {"conversation": "hi"} if message is None else message,
        "messageTimestamp": str(SENT_AT),
        **members,
    }


def action(*elements: Json) -> list[Any]:
    return ["action", {"add": "relay"}, list(elements)]


def ack(**members: Json) -> list[Any]:
    return [
        "Msg",
        {"id": ID, "ack": 2, "cmd": "ack", "to": BOB, "t": SENT_AT, "from": ALICE, **members},
    ]


def wire(frame: Json | str | bytes) -> bytes:
    """Return the payload: a list as JSON, a text or bytes as they are."""
    if isinstance(frame, bytes):
        return frame
    return (frame if isinstance(frame, str) else json.dumps(frame)).encode()


def decode(frame: Json | bytes, *, user: str = ALICE, codec: Codec = CODEC) -> Stanza:
    return codec.decode(wire(frame), user=user, now_s=NOW_S)


def in_general(frame: Json | bytes, *, codec: Codec = CODEC) -> Stanza:
    return decode(b"x," + wire(frame), codec=codec)


def refusal(frame: Json | bytes, *, codec: Codec = CODEC) -> Refusal:
    with pytest.raises(FrameError) as caught:
        decode(frame, codec=codec)
    assert caught.value.refusal.reason
    return caught.value.refusal


def elements_of(frame: Json | bytes, *, codec: Codec = CODEC) -> Sequence[Send | Refusal]:
    stanza = decode(frame, codec=codec)
    assert isinstance(stanza, Action)
    return stanza.elements


def sent(frame: Json | bytes, *, codec: Codec = CODEC) -> Send:
    """Return the only element of an action, which must be accepted."""
    (only,) = elements_of(frame, codec=codec)
    assert isinstance(only, Send), only
    return only


def refused(frame: Json | bytes, *, codec: Codec = CODEC) -> Refusal:
    """Return why the only element of an action is refused."""
    (only,) = elements_of(frame, codec=codec)
    assert isinstance(only, Refusal), only
    assert only.tag == "action"
    assert only.reason
    return only


def delivered(frame: Json | bytes) -> Any:
    """Return the element as its recipient gets it."""
    tag, kind, (received,) = strict_json(sent(frame).frame)
    assert (tag, kind) == ("action", {"add": "relay"})
    return received


def strict_json(text: bytes) -> Any:
    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    def no_repeats(members: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(members) == len(dict(members)), f"a key twice: {members}"
        return dict(members)

    return json.loads(text, parse_constant=no_constant, object_pairs_hook=no_repeats)


def shown(stanza: Stanza) -> object:
    """Return the stanza in a form that can be compared: errors have no equality."""
    if not isinstance(stanza, Action):
        return stanza
    return [
        (each.code, each.reason, each.tag, each.message_id) if isinstance(each, Refusal) else each
        for each in stanza.elements
    ]


def assert_paths_agree(frame: bytes, codec: Codec = CODEC) -> None:
    def outcome(payload: bytes) -> object:
        try:
            return shown(decode(payload, codec=codec))
        except FrameError as error:
            return error.refusal.code, error.refusal.message_id

    assert outcome(frame) == outcome(b"x," + frame)


# --------------------------------------------------------------------------------- parse order


def test_a_text_that_is_no_json_is_no_request_of_the_core() -> None:
    for other in (b"?,,", b"?,", b"?,,,", b" ?,,", b"?,,\n", b'?,,["action"]'):
        assert refusal(other).code == 400


@pytest.mark.parametrize("prefix", ["x,", "x,,", "1.--7_Z,", "-" * 64 + ",,"])
def test_a_correlation_prefix_is_taken_off(prefix: str) -> None:
    assert decode(prefix + json.dumps(ack())) == decode(ack())
    assert sent(prefix + json.dumps(action(element()))) == sent(action(element()))
    login = ["auth", {"type": "new"}, {"remoteJid": ALICE}]
    assert decode(prefix + json.dumps(login)) == decode(login)


@pytest.mark.parametrize("prefix", [",", "x", "x,,,", "x ,", "x, ", " x,", "é,", "-" * 65 + ","])
def test_no_other_prefix_is(prefix: str) -> None:
    error = refusal(prefix + json.dumps(ack()))

    assert (error.code, error.tag) == (400, "")


@pytest.mark.parametrize("frame", ['b1,["nonsense"]', 'b1,,["Msg", {}]', "b1,["])
def test_e2_an_error_repeats_the_prefix_of_its_request_and_names_it(frame: str) -> None:
    assert (refusal(frame).prefix, refusal(frame).tag) == ("b1", "b1")
    assert refusal("b1,{}").tag == "b1"
    assert refused(b"b1," + wire(action(element(to="?")))).tag == "action"


def test_an_error_names_the_tag_of_its_frame() -> None:
    assert refusal(["Msg", {}]).tag == "Msg"
    assert refusal(["MsgInfo", {}]).tag == "MsgInfo"
    assert refusal(["action"]).tag == "action"
    assert refusal(["nonsense"]).tag == "nonsense"
    assert refusal(["n" * 1000]).tag == "n" * 64
    assert refusal("[").tag == ""


def test_white_space_around_a_frame_is_no_matter() -> None:
    assert decode(b" \t\r\n" + wire(ack()) + b"\n ") == decode(ack())
    assert sent(b"\n" + wire(action(element()))) == sent(action(element()))


def test_r1_sheet_notation_means_the_same_as_json() -> None:
    plain = (
        f"[action,{{'add': 'relay'}},[{{'key': {{'remoteJid': '{BOB}', 'fromMe': True, "
        f"'id': '{ID}'}}, 'message': {{'conversation': 'hi', 'x': None}}, "
        f"'messageTimestamp': '{SENT_AT}'}},],]"
    )

    assert sent(plain) == sent(x_first := action(element({"conversation": "hi", "x": None})))
    assert sent("b1," + plain) == sent(x_first)
    assert decode(f"[Msg,{{'id':'{ID}','ack':2,'to':'{BOB}','from':'{ALICE}'}}]") == decode(
        ["Msg", {"id": ID, "ack": 2, "to": BOB, "from": ALICE}]
    )
    assert decode(f"[auth,{{'type':'new'}},{{'remoteJid':'{ALICE}'}}]") == Auth(
        ALICE, resume=False, caps=None
    )


def test_r1_sheet_notation_is_never_evaluated() -> None:
    for text in (
        "[action,{'add': 'relay'},[1+1]]",
        "[action,{'add': str()},[]]",
        "[__import__('os')]",
    ):
        assert refusal(text).code == 400


def test_r1_brackets_in_single_quotes_are_text() -> None:
    text = "[[[[{{{{" * 10
    frame = str(action(element({"conversation": text, "said": 'a "'})))
    assert "'[[[[" in frame

    assert delivered(frame)["message"] == {"conversation": text, "said": 'a "'}


def test_r1_sheet_notation_is_refused_beyond_the_nesting_limit() -> None:
    assert decode(nested(32, quote="'")) is not None
    assert refusal(nested(33, quote="'")).code == 400


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "opening",
    [b'["', b"[" + b"[]," * 40 + b'"', b"['", b"[" + b"[]," * 40 + b"'", b'[m, "', b"x,['"],
)
@pytest.mark.parametrize("repeated", [rb"\"", rb"\'", rb"\\", b'"', b"'", b"[", b" ", b", "])
def test_a_frame_that_breaks_off_costs_little_time(opening: bytes, repeated: bytes) -> None:
    """Quadratic searches would take minutes for these."""
    frame = opening + repeated * (60_000 // len(repeated))

    assert refusal(frame).code == 400


# ------------------------------------------------------------------------------ shape (R28)


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " ",
        "x",
        "null",
        "12",
        '"action"',
        "{}",
        '{"add": "relay"}',
        "[]",
        "[null]",
        "[1]",
        "[[]]",
        "[{}]",
        '[["action"]]',
        "[",
        '["action"',
        '["action",',
        '["action"]]',
        '["action"] []',
        '["action" "x"]',
        "[NaN]",
        '["Msg", NaN]',
        '["Msg", {"id": Infinity}]',
        '["Msg", {"id": "1", "ack": -Infinity}]',
        "\ufeff[]",
        "\x00",
        '["a\nb"]',
        '["\\ud800"]',
        '["\\x41"]',
        "[01]",
    ],
)
def test_r28_what_is_no_frame_gets_400(frame: str) -> None:
    error = refusal(frame)

    assert error.code == 400
    assert error.message_id == ""


@pytest.mark.parametrize("wherever", ['"x": "?"', '"cmd": "?", "cmd": "ack"', '"t": "?"'])
def test_a_binary_message_is_utf_8_wherever_it_is_looked_at(wherever: str) -> None:
    text = json.dumps(ack()).replace('"ack":', f'{wherever}, "ack":').encode()

    assert refusal(text.replace(b"?", b"\xff")).code == 400


@pytest.mark.parametrize(
    "tag", ["", "Action", "ACTION", "msg", "q", "error", "Cmd", "Presence", "query", "actions", "é"]
)
def test_r28_unknown_tags_get_400(tag: str) -> None:
    assert refusal([tag, {"add": "relay"}, []]).code == 400


@pytest.mark.parametrize("tag", ["Msgs", "MsgInfos", "msg", "Msg "])
def test_r28_an_ack_under_another_tag_gets_400(tag: str) -> None:
    assert refusal([tag, *ack()[1:]]).tag == tag


@pytest.mark.parametrize(
    "frame",
    [
        ["action"],
        ["action", {"add": "relay"}],
        ["action", {"add": "relay"}, [element()], None],
        ["action", {"add": "relay"}, None],
        ["action", {"add": "relay"}, {}],
        ["action", {"add": "relay"}, element()],
        ["action", {"add": "relay"}, "x"],
        ["action", {"add": "relay"}, []],
        ["action", None, [element()]],
        ["action", [], [element()]],
        ["action", "relay", [element()]],
        ["action", {}, [element()]],
        ["action", {"add": None}, [element()]],
        ["action", {"add": ["relay"]}, [element()]],
        ["action", {"add": "Relay"}, [element()]],
        ["action", {"add": "update"}, [element()]],
        ["action", {"add": "update", "type": "relay"}, [element()]],
        ["action", {"type": "set"}, [element()]],
        ["action", {"other": "relay"}, [element()]],
        ["action", "presence", "subscribe", BOB],
    ],
)
def test_an_action_of_another_shape_gets_400(frame: Json) -> None:
    error = refusal(frame)

    assert (error.code, error.tag, error.message_id) == (400, "action", "")


@pytest.mark.parametrize(
    "kind",
    [{"type": "relay"}, {"add": "relay", "type": "set"}, {"add": "relay", "epoch": "1"}],
)
def test_relay_may_be_named_by_type_and_with_other_members(kind: Json) -> None:
    assert sent(["action", kind, [element()]]) == sent(action(element()))


@pytest.mark.parametrize(
    "broken",
    [
        None,
        1,
        "x",
        [],
        {},
        [element()],
        {"key": {"id": ID, "remoteJid": BOB}},
        {"message": {"a": 1}},
        {"key": None, "message": {"a": 1}},
        {"key": [], "message": {"a": 1}},
        element([]),
        element("text"),
        element(1),
        element({}),
        {**element(), "message": None},
    ],
)
def test_an_element_of_another_shape_gets_400_of_its_own(broken: Json) -> None:
    first, second = elements_of(action(broken, element()))

    assert isinstance(first, Refusal)
    assert (first.code, first.tag) == (400, "action")
    assert isinstance(second, Send)


def test_the_id_of_a_broken_element_is_named_where_it_can_be_read() -> None:
    assert refused(action(element({}))).message_id == ID
    assert refused(action(element(to="?"))).message_id == ID
    assert refused(action(element({}, message_id="\n"))).message_id == ""
    assert refused(action({"message": {"a": 1}})).message_id == ""


@pytest.mark.parametrize(
    "jid", ["", "?", None, 1, [], f"{BOB}@example.com", "@c.us", "@g.us", "a b", f"{BOB}@c.us\n"]
)
def test_a_receiver_that_is_no_jid_gets_400(jid: Json) -> None:
    assert refused(action(element(to=jid))).code == 400


def test_a_receiver_that_is_missing_gets_400() -> None:
    assert refused(action({"key": {"id": ID}, "message": {"a": 1}})).code == 400


def test_the_first_fault_in_the_order_of_the_pipeline_wins() -> None:
    large = "x" * 400
    faults = [
        ("message:", element({}, message_id="", to="?", large=large)),
        ("id:", element(message_id="", to="?", large=large)),
        ("key.remoteJid:", element(to="?", large=large)),
        ("", element(large=large)),
    ]

    for reason, each in faults:
        assert refused(action(each), codec=SMALL).reason.startswith(reason)
    assert refused(action(faults[-1][1]), codec=SMALL).code == 413


# ------------------------------------------------------------------------------ sends


def test_a_send_to_a_user_is_the_sheets_delivery() -> None:
    send = sent(
        b'["action", {"add": "relay"}, [{"message": {"conversation": "Test msg"}, "key": '
        b'{"remoteJid": "919428284313@s.whatsapp.com", "fromMe": true, '
        b'"id": "3EB0A1ED1B05362823BC"}, "messageTimestamp": "1566970629"}]]'
    )

    assert (send.chat, send.is_group, send.message_id, send.time_s) == (BOB, False, ID, SENT_AT)
    assert send.frame == (
        b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": "3EB0A1ED1B05362823BC", '
        b'"remoteJid": "917069852821@s.whatsapp.com"}, "message": {"conversation": "Test msg"}, '
        b'"messageTimestamp": "1566970629"}]]'
    )


def test_a_send_to_a_group_is_the_sheets_delivery() -> None:
    send = sent(action(element({"conversation": "Test msg Group"}, to=f"{GROUP}@g.us")))

    assert (send.chat, send.is_group, send.message_id) == (GROUP, True, ID)
    assert send.frame == (
        b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": "3EB0A1ED1B05362823BC", '
        b'"remoteJid": "917069852821-1566557065@g.us"}, "participant": '
        b'"917069852821@s.whatsapp.net", "message": {"conversation": "Test msg Group"}, '
        b'"messageTimestamp": "1566970629"}]]'
    )


def test_the_author_is_who_is_logged_in() -> None:
    payload = wire(action({**element(), "participant": f"{BOB}@c.us"}))
    send = decode(payload, user="asha")

    assert isinstance(send, Action)
    assert isinstance(send.elements[0], Send)
    assert b'"remoteJid": "asha@s.whatsapp.com"' in send.elements[0].frame


@pytest.mark.parametrize(
    ("given_time", "kept"),
    [
        (SENT_AT, SENT_AT),
        (str(SENT_AT), SENT_AT),
        (SENT_AT + 0.9, SENT_AT),
        (SENT_AT * 1000 + 999, SENT_AT),
        (str(SENT_AT * 1000), SENT_AT),
        (SENT_AT * 1000.0, SENT_AT),
        (NOW_S + 300, NOW_S + 300),
        (NOW_S + 301, NOW_S),
        (0, 0),
        (-1, NOW_S),
        ("", NOW_S),
        ("-1", NOW_S),
        (" 1", NOW_S),
        ("1.5", NOW_S),
        ("soon", NOW_S),
        (True, NOW_S),
        (None, NOW_S),
        ([], NOW_S),
        ({"low": 1}, NOW_S),
        (10**30, NOW_S),
        (1e300, NOW_S),
    ],
)
def test_r9_a_valid_time_is_kept_and_goes_out_as_a_string(given_time: Json, kept: int) -> None:
    frame = action(element(messageTimestamp=given_time))
    send = sent(frame)

    assert send.time_s == kept
    assert delivered(frame)["messageTimestamp"] == str(kept)
    assert_paths_agree(wire(frame))


def test_r9_without_a_time_the_servers_is_taken() -> None:
    frame = action({"key": {"id": ID, "remoteJid": BOB}, "message": {"a": 1}})

    assert sent(frame).time_s == NOW_S


@pytest.mark.parametrize(
    "good",
    ["1", "x" * MAX_ID_CHARS, "é" * MAX_ID_CHARS, "🙂", " ", "'", '"', "\\", "\xa0", "\u2028"],
)
def test_r21_an_id_is_any_text_of_1_to_128_characters(good: str) -> None:
    frame = action(element(message_id=good))

    assert sent(frame).message_id == good
    assert delivered(frame)["key"]["id"] == good
    assert decode(ack(id=good)) == decode(ack(id=[good]))


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x" * 129,
        "é" * 129,
        "\n",
        "a\x00",
        "\x1f",
        "\x7f",
        "\x80",
        "\x9f",
        7,
        None,
        [],
        {},
        True,
    ],
)
def test_r21_any_other_id_gets_400(bad: Json) -> None:
    assert refused(action(element(message_id=bad))).code == 400
    assert refused(action(element(message_id=bad))).message_id == ""
    assert refusal(ack(id=bad)).code == 400
    assert refusal(ack(id=[ID, bad])).code == 400


def test_r21_a_missing_id_or_one_with_a_lone_surrogate_gets_400() -> None:
    assert refused(action({"key": {"remoteJid": BOB}, "message": {"a": 1}})).code == 400
    assert refusal(json.dumps(action(element(message_id="\ud800")))).code == 400
    assert refusal(json.dumps(ack(id="a\udc00"))).code == 400


@pytest.mark.parametrize("from_me", [True, False, None, "false", 0, {}, []])
def test_r22_from_me_is_ignored_and_false_for_the_recipient(from_me: Json) -> None:
    frame = action({"key": {"fromMe": from_me, "id": ID, "remoteJid": BOB}, "message": {"a": 1}})

    assert delivered(frame)["key"]["fromMe"] is False


def test_r23_each_message_of_an_action_stands_for_itself() -> None:
    found = elements_of(
        action(
            element(message_id="1"),
            element(message_id="2", to="?"),
            element(message_id="3", to=f"{GROUP}@g.us"),
            7,
            element(message_id="1"),
        )
    )

    assert [(type(each), each.message_id) for each in found] == [
        (Send, "1"),
        (Refusal, "2"),
        (Send, "3"),
        (Refusal, ""),
        (Send, "1"),
    ]


def test_r24_further_members_pass_but_for_those_of_the_server() -> None:
    servers_own = (
        "participant",
        "status",
        "messageStubType",
        "messageStubParameters",
        "broadcast",
    )
    owned: dict[str, Json] = dict.fromkeys(servers_own, "forged")
    frame = action(
        {
            "ephemeral": {"s": 1},
            "é": None,
            **owned,
            **element(),
            "key": {
                "participant": "forged",
                "remoteJid": BOB,
                "id": ID,
                "fromMe": True,
                "server": [1],
                "status": "mine",
            },
        }
    )

    assert delivered(frame) == {
        "key": {
            "fromMe": False,
            "id": ID,
            "remoteJid": f"{ALICE}@s.whatsapp.com",
            "server": [1],
            "status": "mine",
        },
        "message": {"conversation": "hi"},
        "messageTimestamp": str(SENT_AT),
        "ephemeral": {"s": 1},
        "é": None,
    }


def test_r24_a_servers_key_in_disguise_is_stripped_too() -> None:
    frame = (
        b'["action",{"add":"relay"},[{"\\u0070articipant":"forged","key":{"id":"1",'
        b'"remoteJid":"2","p\\u0061rticipant":"forged"},"message":{"participant":"mine"}}]]'
    )

    assert "forged" not in sent(frame).frame.decode()
    assert delivered(frame)["message"] == {"participant": "mine"}


@pytest.mark.parametrize(
    "message",
    [
        b'{"b":1,"a":2}',
        b'{ "spaced" :\t[ 1 ,2 ] }',
        b'{"n":[1.0,1e2,1E+2,-0,0.10,12345678901234567890,1234567890123456789012]}',
        rb'{"s":"\u0041\/\ud83d\ude42\u0000"}',
        '{"s":"é🙂\u2028\x7f"}'.encode(),
        b'{"":{"":[{}]}}',
    ],
)
def test_r25_a_message_passes_byte_for_byte(message: bytes) -> None:
    frame = b'["action",{"add":"relay"},[{"key":{"id":"1","remoteJid":"2"},"message":%b}]]'

    assert b'"message": ' + message + b', "messageTimestamp"' in sent(frame % message).frame
    assert in_general(frame % message) == decode(frame % message)


@pytest.mark.parametrize("message", [b'{"n":1e999}', b'{"n":-1e309}', b'{"n":[1E+400]}'])
def test_r25_a_number_beyond_a_double_is_refused(message: bytes) -> None:
    frame = b'["action",{"add":"relay"},[{"key":{"id":"1","remoteJid":"2"},"message":%b}]]'

    error = refused(frame % message)
    assert (error.code, error.message_id) == (400, "1")


def test_r25_nor_does_such_a_number_travel_beside_a_message() -> None:
    frame = b'["action",{"add":"relay"},[{"key":{"id":"1","remoteJid":"2"%b},"message":{"a":1}%b}]]'

    assert refused(frame % (b"", b',"extra":1e999')).code == 400
    assert refused(frame % (b',"extra":[1e999]', b"")).code == 400


def test_r25_a_lone_surrogate_is_refused() -> None:
    assert refusal(json.dumps(action(element({"a": "\ud800"})))).code == 400


def test_invalid_json_in_any_part_of_an_element_never_travels_on() -> None:
    for broken in (b"01", b'"\\x"', b'"\n"', b"tru", b"NaN", b'{"a":1,}', b"1e999"):
        for place in (b'"message":{"a":%b}', b'"message":{"a":1},"extra":%b'):
            text = b'["action",{"add":"relay"},[{"key":{"id":"1","remoteJid":"2"},%b}]]' % place
            try:
                found = elements_of(text % broken)
            except FrameError:
                continue
            for each in found:
                if isinstance(each, Send):
                    strict_json(each.frame)


# ------------------------------------------------------------------------------ limits


def test_a_message_may_be_64_kib_and_no_more() -> None:
    def of_size(size: int) -> dict[str, Any]:
        empty = len(json.dumps(element({"a": ""})))
        return element({"a": "x" * (size - empty)})

    assert sent(action(of_size(65_536)))
    error = refused(action(of_size(65_537)))
    assert (error.code, error.message_id) == (413, ID)

    small, large = elements_of(action(element(message_id="1"), of_size(100_000)))
    assert isinstance(small, Send)
    assert isinstance(large, Refusal)


def test_an_action_may_carry_256_messages_and_no_more() -> None:
    assert len(elements_of(action(*[element()] * 256))) == 256
    error = refusal(action(*[element()] * 257))
    assert (error.code, error.tag) == (413, "action")


def test_the_number_of_messages_is_limited_on_both_ways() -> None:
    tiny = {"key": {"id": "1", "remoteJid": "2"}, "message": {"a": 1}}

    assert len(elements_of(action(*[tiny] * 3), codec=SMALL)) == 3
    assert refusal(action(*[tiny] * 4), codec=SMALL).code == 413
    assert_paths_agree(wire(action(*[tiny] * 4)), SMALL)


def test_an_ack_may_carry_1000_ids_and_no_more() -> None:
    ids = [str(number) for number in range(1001)]

    stanza = decode(ack(id=ids[:1000], cmd="acks"))
    assert isinstance(stanza, Ack)
    assert stanza.message_ids == ids[:1000]
    assert refusal(ack(id=ids)).code == 413


def nested(depth: int, quote: str = '"') -> str:
    """Return an action that nests `depth` deep, its own three levels and the message's included."""
    inner = "[" * (depth - 4) + "]" * (depth - 4)
    text = '["action",{"add":"relay"},[{"key":{"id":"1","remoteJid":"2"},"message":{"a":%s}}]]'
    return text.replace('"', quote) % inner


def test_nesting_of_32_is_accepted_and_no_more() -> None:
    wide = ',{"key":{"id":"2","remoteJid":"2"},"message":{"a":[[],[],[],[],[],[],[],[],[],[]]}}]]'

    assert sent(nested(32))
    assert len(elements_of(nested(32)[:-2] + wide)) == 2
    for frame in (nested(33), nested(33)[:-2] + wide, nested(1000), nested(100_000)):
        error = refusal(frame)
        assert error.code == 400
        assert "nest" in error.reason


@pytest.mark.parametrize("padding", [0, LONG_BYTES])
@pytest.mark.parametrize("depth", [31, 32, 33])
def test_the_limit_of_nesting_is_the_same_for_long_frames(depth: int, padding: int) -> None:
    frame = nested(depth).replace('"a":', f'"text":"{"x" * padding}","a":')

    if depth <= 32:
        assert sent(frame)
    else:
        assert "nest" in refusal(frame).reason


@pytest.mark.parametrize(
    "frame", ["[" * 200_000, '{"a":' * 40_000, "[[]," * 60_000, "['[" * 60_000]
)
def test_hostile_nesting_is_refused(frame: str) -> None:
    assert refusal(frame).code == 400


def test_brackets_in_strings_are_text() -> None:
    text = '[{"\\' * 100

    assert delivered(action(element({text: text})))["message"] == {text: text}


# ------------------------------------------------------------------------------ acks


def test_an_ack_of_a_user() -> None:
    frame = (
        b'["Msg", {"id": "3EB0A1ED1B05362823BC", "ack": 2, "cmd": "ack", '
        b'"to": "919428284313@c.us", "t": "1566971275", "from": "917069852821@c.us"}]'
    )

    assert decode(frame, user=BOB) == Ack(
        tag="Msg",
        message_ids=[ID],
        level=2,
        author=ALICE,
        author_is_group=False,
        chat=BOB,
        chat_is_group=False,
        time_s=1566971275,
    )
    assert in_general(frame) == decode(frame)


def test_an_ack_of_a_group() -> None:
    frame = (
        b'["MsgInfo", {"from": "917069852821@c.us", "ack": 2, "cmd": "ack", "to": '
        b'"917069852821-1566557065@g.us", "participant": "919428284313@sc.us", '
        b'"id": "3EB09ACC2D709AB09850", "t": "1566971560"}]'
    )

    assert decode(frame, user=BOB) == Ack(
        tag="MsgInfo",
        message_ids=["3EB09ACC2D709AB09850"],
        level=2,
        author=ALICE,
        author_is_group=False,
        chat=GROUP,
        chat_is_group=True,
        time_s=1566971560,
    )
    assert in_general(frame) == decode(frame)


def test_r13_the_swapped_form_is_told_apart_by_its_group() -> None:
    stanza = decode(ack(**{"from": f"{GROUP}@g.us", "to": ALICE}))

    assert isinstance(stanza, Ack)
    assert (stanza.author, stanza.author_is_group) == (GROUP, True)
    assert (stanza.chat, stanza.chat_is_group) == (ALICE, False)
    assert refusal(ack(**{"from": f"{GROUP}@g.us", "to": f"{GROUP}@g.us"})).code == 400


def test_r17_the_tag_does_not_decide_what_an_ack_is_for() -> None:
    for to in (BOB, f"{GROUP}@g.us"):
        one = decode(ack(to=to))
        other = decode(["MsgInfo", *ack(to=to)[1:]])
        assert isinstance(one, Ack)
        assert isinstance(other, Ack)
        assert one.chat_is_group == other.chat_is_group == (to != BOB)


@pytest.mark.parametrize(("given_level", "level"), [(2, 2), (3, 3), (4, 4), ("2", 2), ("4", 4)])
def test_r18_levels(given_level: Json, level: int) -> None:
    stanza = decode(ack(ack=given_level))

    assert isinstance(stanza, Ack)
    assert stanza.level == level


@pytest.mark.parametrize(
    "level",
    [
        0,
        1,
        5,
        -1,
        10**30,
        2.5,
        "0",
        "1",
        "5",
        "",
        "02",
        " 2",
        "23",
        "²",
        "two",
        True,
        None,
        [2],
        {},
    ],
)
def test_r18_any_other_level_gets_400(level: Json) -> None:
    error = refusal(ack(ack=level))

    assert (error.code, error.tag) == (400, "Msg")


@pytest.mark.parametrize("missing", ["id", "ack", "from", "to"])
def test_an_ack_without_one_of_its_members_gets_400(missing: str) -> None:
    tag, body = ack()
    del body[missing]

    assert refusal([tag, body]).code == 400


@pytest.mark.parametrize(
    "frame",
    [
        ["Msg"],
        ["Msg", None],
        ["Msg", []],
        ["Msg", "x"],
        [*ack(), None],
        ack(id=[]),
        ack(id={}),
        ack(id=[1]),
        ack(to=1),
        ack(to="?"),
        ack(**{"from": "?"}),
        ack(**{"from": None}),
    ],
)
def test_an_ack_of_another_shape_gets_400(frame: Json) -> None:
    error = refusal(frame)

    assert (error.code, error.tag) == (400, "Msg")


OTHER_COMMANDS: list[Json] = ["", "Ack", "read", None, 1, [], {}]


def test_the_command_of_an_ack_may_be_missing_but_not_another() -> None:
    tag, body = ack()
    del body["cmd"]

    assert decode([tag, body]) == decode(ack()) == decode(ack(cmd="acks"))
    for other in OTHER_COMMANDS:
        assert refusal(ack(cmd=other)).code == 400


def test_a_faulty_ack_of_one_message_names_its_id() -> None:
    assert refusal(ack(ack=9)).message_id == ID
    assert refusal(ack(to="?")).message_id == ID
    assert refusal(ack(cmd="x")).message_id == ID
    assert refusal(ack(id=["1", "2"], ack=9)).message_id == ""


@pytest.mark.parametrize(
    ("given_time", "time_s"),
    [
        (SENT_AT, SENT_AT),
        (str(SENT_AT), SENT_AT),
        (SENT_AT * 1000, SENT_AT),
        (SENT_AT + 0.5, SENT_AT),
        (None, None),
        ("soon", None),
        (-5, None),
        (True, None),
        ({}, None),
    ],
)
def test_r8_the_time_of_an_ack(given_time: Json, time_s: int | None) -> None:
    stanza = decode(ack(t=given_time))

    assert isinstance(stanza, Ack)
    assert stanza.time_s == time_s


# ------------------------------------------------------------------------------ auth


def login(identity: Json, **options: Json) -> Stanza:
    return decode(["auth", {"type": "new", **options}, identity], user="")


@pytest.mark.parametrize(
    "jid", [ALICE, f"{ALICE}@s.whatsapp.com", f"+{ALICE}:3@c.us", f"{ALICE}_1@s.whatsapp.net"]
)
def test_a_login_names_its_user_in_any_spelling(jid: str) -> None:
    assert login({"remoteJid": jid}) == Auth(ALICE, resume=False, caps=None)


def test_a_login_with_extensions() -> None:
    extras: Json = {"remoteJid": ALICE, "token": "t", "device": "laptop", "pushname": "A"}

    assert login(extras, caps=[]) == Auth(ALICE, resume=False, caps=(), token=Token("t"))
    asked = ("acks", "unknown")
    assert login(extras, caps=list(asked)) == Auth(
        ALICE, resume=False, caps=asked, token=Token("t")
    )
    assert login(extras, type="resume") == Auth(ALICE, resume=True, caps=None, token=Token("t"))


@pytest.mark.parametrize("token", [None, 5, ["t"], {"t": "t"}])
def test_e1_a_token_that_is_no_text_is_none(token: Json) -> None:
    assert login({"remoteJid": ALICE, "token": token}) == Auth(ALICE, resume=False, caps=None)


def test_a_token_shows_itself_nowhere() -> None:
    auth = login({"remoteJid": ALICE, "token": "eyJhbGciOi"})

    assert "eyJ" not in f"{auth} {auth!r}"


@pytest.mark.parametrize(
    "frame",
    [
        ["auth"],
        ["auth", {"type": "new"}],
        ["auth", {"type": "new"}, {"remoteJid": ALICE}, None],
        ["auth", None, {"remoteJid": ALICE}],
        ["auth", "new", {"remoteJid": ALICE}],
        ["auth", {}, {"remoteJid": ALICE}],
        ["auth", {"type": "old"}, {"remoteJid": ALICE}],
        ["auth", {"type": None}, {"remoteJid": ALICE}],
        ["auth", {"type": ["new"]}, {"remoteJid": ALICE}],
        ["auth", {"type": {}}, {"remoteJid": ALICE}],
        ["auth", {"type": "new", "caps": "sm"}, {"remoteJid": ALICE}],
        ["auth", {"type": "new", "caps": [1]}, {"remoteJid": ALICE}],
        ["auth", {"type": "new"}, None],
        ["auth", {"type": "new"}, ALICE],
        ["auth", {"type": "new"}, {}],
        ["auth", {"type": "new"}, {"remoteJid": None}],
        ["auth", {"type": "new"}, {"remoteJid": [ALICE]}],
        ["auth", {"type": "new"}, {"remoteJid": ""}],
        ["auth", {"type": "new"}, {"remoteJid": f"{GROUP}@g.us"}],
        ["auth", {"type": "new"}, {"remoteJid": "x" * 1000}],
    ],
)
def test_a_login_of_another_shape_is_a_failure_and_no_error(frame: Json) -> None:
    stanza = decode(frame, user="")

    assert isinstance(stanza, InvalidAuth)
    assert 0 < len(stanza.reason) <= 200


def test_a_login_with_an_unreadable_number_is_a_failure() -> None:
    stanza = decode(b'["auth", {"type": "new", "n": 1e999}, {"remoteJid": "1"}]')

    assert isinstance(stanza, InvalidAuth)


# ------------------------------------------------------------------------------ digests


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":[{"c":2,"d":3}]}', b'{"b":[{"d":3,"c":2}],"a":1}'),
        (b'{"a":1}', b' { "a" :\n1 } '),
        (rb'{"a":"\u00e9\/\ud83d\ude42"}', '{"a":"é/🙂"}'.encode()),
        (rb'{"\u0061":1}', b'{"a":1}'),
        (b'{"a":0,"a":1}', b'{"a":1}'),
        (b'{"a":1.50}', b'{"a":15e-1}'),
        (b'{"a":1.0}', b'{"a":1}'),
        (b'{"a":1e16,"b":[1e0,1e300]}', b'{"a":10000000000000000,"b":[1,1.0e300]}'),
        (b'{"a":[{"b":2e0}],"c":"v1.0"}', b'{"a":[{"b":2}],"c":"v1.0"}'),
    ],
)
def test_r20_equal_messages_have_one_digest(one: bytes, other: bytes) -> None:
    frame = b'["action",{"add":"relay"},[{"key":{"id":"1","remoteJid":"2"},"message":%b}]]'

    assert sent(frame % one).digest == sent(frame % other).digest


def test_r20_nothing_but_the_message_is_in_the_digest() -> None:
    digests = {
        sent(frame).digest
        for frame in (
            action(element()),
            action(element(message_id="other")),
            action(element(to=f"{GROUP}@g.us")),
            action(element(messageTimestamp=0, extra=1)),
        )
    }

    assert len(digests) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {"a": False}),
        ({"a": None}, {"a": None, "b": None}),
        ({"a": []}, {"a": {}}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": [[1], 2]}, {"a": [[1, 2]]}),
        ({"a": "x"}, {"a": "x "}),
        ({"a": 2**64}, {"a": 2**64 + 1}),
        ({"a": {"b": 1}, "c": 2}, {"a": {"b": 1, "c": 2}}),
    ],
)
def test_r20_different_messages_have_different_digests(one: Json, other: Json) -> None:
    assert sent(action(element(one))).digest != sent(action(element(other))).digest


# ------------------------------------------------------------------------------ properties

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
values: st.SearchStrategy[Any] = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
exact_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
messages = st.dictionaries(texts, values, min_size=1, max_size=3)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=MAX_ID_CHARS)
chats = st.sampled_from([BOB, f"{BOB}@c.us", f"{GROUP}@g.us", f"+{BOB}:1@s.whatsapp.net"])
member_names = st.sampled_from([*sorted(SERVER_KEYS), "fromMe", "id", "extra", "é"]) | texts
spacings = st.sampled_from([None, (",", ":"), (" , ", " :\t")])


def dumped(value: Json, separators: tuple[str, str] | None, ensure_ascii: bool) -> bytes:
    return json.dumps(value, separators=separators, ensure_ascii=ensure_ascii).encode()


@settings(max_examples=60, deadline=None)
@given(
    ids,
    chats,
    messages,
    st.integers(0, NOW_S + 300),
    st.dictionaries(member_names.filter(lambda n: n not in ("key", "message")), values, max_size=3),
    spacings,
    st.booleans(),
)
def test_what_is_delivered_is_what_was_sent(
    message_id: str,
    to: str,
    message: dict[str, Any],
    time_s: int,
    extra: dict[str, Any],
    spacing: tuple[str, str] | None,
    ensure_ascii: bool,
) -> None:
    extra.pop("messageTimestamp", None)
    sent_element = {
        **extra,
        "key": {"remoteJid": to, "id": message_id},
        "message": message,
        "messageTimestamp": time_s,
    }
    is_group = to.endswith("@g.us")
    expected: dict[str, Any] = {
        "key": {
            "fromMe": False,
            "id": message_id,
            "remoteJid": to if is_group else f"{ALICE}@s.whatsapp.com",
        },
        "message": message,
        "messageTimestamp": str(time_s),
        **{name: value for name, value in extra.items() if name not in SERVER_KEYS},
    }
    if is_group:
        expected["participant"] = f"{ALICE}@s.whatsapp.net"

    send = sent(dumped(action(sent_element), spacing, ensure_ascii))

    assert strict_json(send.frame) == ["action", {"add": "relay"}, [expected]]
    assert (send.chat, send.is_group, send.message_id) == (
        GROUP if is_group else BOB,
        is_group,
        message_id,
    )


odd = st.sampled_from([None, "", "?", 0, -1, 2.5, True, [], {}, [1], {"a": 1}, "1", 10**25])


@st.composite
def actions_of_all_kinds(draw: st.DrawFn) -> list[Any]:
    """Draw an action whose every part may be good, odd or missing."""

    def part(good: st.SearchStrategy[Any]) -> Any:
        return draw(good if draw(st.integers(0, 5)) else odd)

    def members(**strategies: st.SearchStrategy[Any]) -> dict[str, Any]:
        return {
            name: part(strategy) for name, strategy in strategies.items() if draw(st.integers(0, 9))
        }

    def one_element() -> dict[str, Any]:
        found = members(message=messages, messageTimestamp=st.integers(0, 2**40))
        found["key"] = members(id=ids, remoteJid=chats, fromMe=st.booleans())
        if draw(st.booleans()):
            found[draw(member_names)] = draw(values)
        return found

    count = draw(st.integers(0, 4))
    return ["action", members(add=st.just("relay")), [one_element() for _ in range(count)]]


@settings(max_examples=80, deadline=None)
@given(actions_of_all_kinds(), spacings, st.booleans(), st.sampled_from([CODEC, SMALL]))
def test_the_fast_and_the_general_way_agree_on_actions(
    frame: list[Any], spacing: tuple[str, str] | None, ensure_ascii: bool, codec: Codec
) -> None:
    assert_paths_agree(dumped(frame, spacing, ensure_ascii), codec)


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": ids | st.lists(ids, max_size=4) | odd,
            "ack": st.sampled_from([2, 3, 4, "2"]) | odd,
            "from": chats | odd,
            "to": chats | odd,
            "cmd": st.sampled_from(["ack", "acks", "read"]) | odd,
            "t": st.integers(0, 2**40) | odd,
            "participant": values,
        },
    ),
    st.sampled_from(["Msg", "MsgInfo", "Msgs"]),
)
def test_the_fast_and_the_general_way_agree_on_acks(body: dict[str, Any], tag: str) -> None:
    assert_paths_agree(wire([tag, body]), SMALL)


@settings(max_examples=40, deadline=None)
@given(messages, spacings, st.booleans(), st.booleans())
def test_r20_the_digest_is_blind_to_key_order_white_space_and_escapes(
    message: dict[str, Any], spacing: tuple[str, str] | None, ensure_ascii: bool, in_order: bool
) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in sorted(value, reverse=not in_order)}
        return [turned(each) for each in value] if isinstance(value, list) else value

    again = dumped(action(element(turned(message))), spacing, ensure_ascii)

    assert sent(action(element(message))).digest == sent(again).digest


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(texts, exact_values, min_size=1, max_size=3),
    st.dictionaries(texts, exact_values, min_size=1, max_size=3),
)
def test_r20_the_digest_sees_every_other_difference(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert (sent(action(element(one))).digest == sent(action(element(other))).digest) == equal


def assert_only_frame_errors(payload: bytes) -> None:
    for user in ("", ALICE):
        try:
            stanza = CODEC.decode(payload, user=user, now_s=NOW_S)
        except FrameError as error:
            assert_can_be_answered(error.refusal)
            continue
        for each in stanza.elements if isinstance(stanza, Action) else ():
            if isinstance(each, Send):
                # Strict JSON, but that a message, passed through unchanged, may repeat a key.
                json.loads(each.frame, parse_constant=pytest.fail)
            else:
                assert_can_be_answered(each)


def assert_can_be_answered(error: Refusal) -> None:
    assert error.code in (400, 413)
    assert error.reason
    for text in (error.reason, error.tag, error.message_id):
        text.encode()  # fails on a lone surrogate


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_decoded_or_refused(text: str) -> None:
    assert_only_frame_errors(text.encode())


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]{}\"'\\,:. ?01-eE+nulltruefaNTMsgaction\u0000é", max_size=60))
def test_any_text_of_syntax_is_decoded_or_refused(text: str) -> None:
    assert_only_frame_errors(text.encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b'["action"', b'["Msg', b"x,[", b"['"]))
def test_any_bytes_are_decoded_or_refused(payload: bytes, start: bytes) -> None:
    assert_only_frame_errors(start + payload)


@settings(max_examples=60, deadline=None)
@given(st.lists(values, max_size=4), st.sampled_from(["action", "Msg", "MsgInfo", "auth", "x"]))
def test_any_json_is_decoded_or_refused(rest: list[Any], tag: str) -> None:
    assert_only_frame_errors(wire([tag, *rest]))


GOOD_FRAMES = [
    wire(action(element(), element(to=f"{GROUP}@g.us", extra=[1]))).decode(),
    wire(ack()).decode(),
    wire(["auth", {"type": "new", "caps": ["a"]}, {"remoteJid": ALICE}]).decode(),
    str(action(element())),
    "tag,,[Msg,{'id':'1','ack':2,'to':'2','from':'1'}]",
]
edits = st.tuples(
    st.integers(0, 300),
    st.integers(0, 12),
    st.sampled_from(
        ["", '"', "'", "\\", "[", "]", "{", "}", ",", ":", "null", "1e999", "\\ud800", "\\u0000"]
    )
    | texts,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(GOOD_FRAMES), st.lists(edits, min_size=1, max_size=3))
def test_any_damaged_frame_is_decoded_or_refused(
    frame: str, damage: Sequence[tuple[int, int, str]]
) -> None:
    for start, length, text in damage:
        frame = frame[:start] + text + frame[start + length :]

    assert_only_frame_errors(frame.encode())
    if frame.startswith("["):
        assert_paths_agree(frame.encode())
    assert_only_frame_errors(frame.encode("latin-1", "replace"))


@pytest.mark.parametrize("frame", GOOD_FRAMES)
def test_every_beginning_of_a_frame_is_refused(frame: str) -> None:
    payload = frame.encode()
    decode(payload)

    for end in range(len(payload)):
        if payload[:end].decode() not in ("?,,",):
            assert refusal(payload[:end]).code == 400


def test_other_limits_hold_from_the_next_frame_on() -> None:
    codec = Codec(LimitSettings())
    large = wire(action(element({"conversation": "x" * 400})))
    sent(large, codec=codec)

    codec.adopt(LimitSettings(message_bytes=300))

    assert refused(large, codec=codec).code == 413
