"""Bad input: PROTOCOL 2.1, 2.8, R28 and section 5.

Whatever comes gets the documented answer, the connection stays usable where the protocol does not
say that it closes, nothing is raised in any process, and memory stays flat.
"""

import json
import random
import string
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.outside.client import SheetClient, exchange_marker
from tests.outside.frames import (
    ABSENT,
    ALICE,
    BOB,
    EVE,
    SENT_AT,
    Frame,
    ack_1,
    action,
    auth_frame,
    check_error,
    delivery,
    element,
    group_receipt,
    receipt,
    strict_json,
)
from tests.outside.people import Cast
from tests.outside.relay import Relay

from .conftest import RelaySharer, RelayStarter

# Bad frames are what these tests are made of, so the 20th does not close the connection.
PATIENT = "[limits]\nmalformed_frames = 1_000_000"

MIB = 1024 * 1024

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["action", "Msg", "ack", "relay", EVE, f"{EVE}@c.us", "unknown@g.us", 10**400]
    )
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)

# Text near the grammar of sheet notation: its parser is the relay's own.
sheet_like = st.lists(
    st.sampled_from(
        [
            *"[]{},:'\"\\ \n\t",
            "action",
            "Msg",
            "True",
            "None",
            "1",
            "-",
            ".",
            "e9",
            "\\u",
            "é",
            "\0",
        ]
    ),
    max_size=30,
).map("".join)


def bounded(examples: int) -> settings:
    # The same examples in every run: a failure is one that can be repeated.
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


def answers_to(client: SheetClient, text: str) -> list[Frame]:
    """Send `text` and return what the front answers to it at once."""
    client.send(text)
    client.send("?,,")
    answers = []
    while not (answer := client.recv_text()).startswith("!"):
        answers.append(strict_json(answer))
    return answers


def is_keepalive(text: str) -> bool:
    return text.startswith("?,,")


@pytest.fixture
def patient(share_relay: RelaySharer) -> Relay:
    return share_relay(config=PATIENT)


def test_any_text_that_is_no_frame_gets_one_error(patient: Relay, cast: Cast) -> None:
    alice = patient.login(cast.alice)

    @bounded(150)
    @given(
        st.text(max_size=60)
        | sheet_like
        | values.map(json.dumps)
        | st.tuples(st.text("ab._-,", max_size=4), values).map(lambda t: t[0] + json.dumps(t[1]))
    )
    def check(text: str) -> None:
        # Hypothesis does not hit on a valid frame by chance, but on a keepalive it might.
        if is_keepalive(text) or any(0xD800 <= ord(sign) < 0xE000 for sign in text):
            return
        [answer] = answers_to(alice, text)
        check_error(answer, 400)

    check()
    exchange_marker(alice, patient.login(cast.bob))


def test_a_frame_of_an_unknown_tag_gets_one_error_that_names_it(patient: Relay, cast: Cast) -> None:
    alice = patient.login(cast.alice)
    known = {"auth", "action", "Msg", "MsgInfo"}
    tags = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=12)

    @bounded(60)
    @given(tags.filter(lambda tag: tag not in known), st.lists(values, max_size=3))
    def check(tag: str, rest: list[Any]) -> None:
        [answer] = answers_to(alice, json.dumps([tag, *rest]))
        check_error(answer, 400, tag=tag)

    check()
    # The extensions' requests are no exception.
    for request in (
        ["query", {"type": "message"}, None],
        ["Chat", {"cmd": "action", "data": ["create", None, {}]}],
        ["action", "presence", "subscribe", f"{cast.bob}@c.us"],
        ["action", {"type": "set"}, [["read", {"jid": f"{cast.bob}@c.us"}, None]]],
        ["sm", {"type": "r"}],
        ["register", {}],
    ):
        [answer] = answers_to(alice, json.dumps(request))
        check_error(answer, 400, tag=str(request[0]))
    exchange_marker(alice, patient.login(cast.bob))


def keys_of(value: Any) -> list[Any]:
    return sorted(value) if isinstance(value, dict) else list(range(1, len(value)))


@st.composite
def mutations(draw: st.DrawFn, frame: Any) -> Any:
    """A frame or message element with something below its tag replaced, removed or added."""
    copy = json.loads(json.dumps(frame))
    parent: Any = copy
    key: Any = draw(st.sampled_from(keys_of(parent)))
    while isinstance(parent[key], dict) and parent[key] and draw(st.booleans()):
        parent = parent[key]
        key = draw(st.sampled_from(keys_of(parent)))
    change = draw(st.sampled_from(["replace", "remove", "add"]))
    if change == "replace":
        parent[key] = draw(values)
    elif isinstance(parent, dict):
        if change == "remove":
            del parent[key]
        else:
            parent[draw(st.text(max_size=8))] = draw(values)
    return copy


def test_a_send_with_anything_wrong_gets_one_ack_or_one_error(patient: Relay, cast: Cast) -> None:
    alice = patient.login(cast.alice)

    @bounded(150)
    @given(mutations(element(cast.eve, "M")))
    def check(message: Any) -> None:
        alice.send(action(message))
        answer = alice.recv()
        if answer[0] == "Msg":
            sent_id = message["key"]["id"]
            assert answer[1].keys() == {"id", "ack", "cmd", "to", "t", "from"}
            assert (answer[1]["id"], answer[1]["ack"]) == (sent_id, 1)
        else:
            check_error(answer, None, tag="action")
            assert answer[1]["code"] in (400, 403, 404, 409, 413), answer

    check()
    exchange_marker(alice, patient.login(cast.bob))


def test_an_ack_with_anything_wrong_gets_at_most_one_error(patient: Relay, cast: Cast) -> None:
    alice = patient.login(cast.alice)

    @bounded(150)
    @given(
        mutations(receipt("M", 2, author=cast.eve, by=cast.bob, t=SENT_AT))
        | mutations(
            group_receipt("M", 2, author=cast.eve, by=cast.bob, t=SENT_AT, group=cast.group)
        )
    )
    def check(frame: Any) -> None:
        answers = answers_to(alice, json.dumps(frame))
        assert len(answers) <= 1, answers
        for answer in answers:
            check_error(answer, 400, tag=frame[0])

    check()
    exchange_marker(alice, patient.login(cast.bob))


def test_a_login_with_anything_wrong_gets_one_success_or_one_failure(
    patient: Relay, cast: Cast
) -> None:
    @bounded(60)
    @given(mutations(auth_frame(f"{cast.eve}@s.whatsapp.com")))
    def check(frame: Any) -> None:
        client = patient.connect()
        client.send(frame)
        answer = client.recv()
        assert answer[0] in ("auth", "error"), answer
        if answer[0] == "error":
            check_error(answer, 400, tag="auth")
        elif answer[1]["status"] == "failure":
            # 429: takeovers of Eve's session, if a mutation left her jid as it was.
            assert answer[1]["code"] in (400, 429), answer
            client.ping()
        client.drop()

    check()
    exchange_marker(patient.login(cast.alice), patient.login(cast.bob))


def test_every_truncation_of_a_frame_gets_one_error(patient: Relay, cast: Cast) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)
    sheet = "[Msg,{'id': 'M', 'ack': 2, 'to': '1@c.us', 't': '1566971275', 'from': '2@c.us'}]"

    for whole in (json.dumps(action(element(cast.bob, "M"))), sheet, '["query","exist"]'):
        for length in range(len(whole)):
            [answer] = answers_to(alice, whole[:length])
            check_error(answer, 400, tag=None, message_id=ABSENT)

    exchange_marker(alice, bob)


def test_nesting_up_to_32_is_accepted_and_beyond_refused(patient: Relay, cast: Cast) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)

    def nested(depth: int) -> Any:
        """An object that makes the frame around it `depth` deep."""
        value: Any = 1
        # The frame, its list of elements, the element and the message are four.
        for _ in range(depth - 4):
            value = [value]
        return {"deep": value}

    alice.send_message(cast.bob, "OK", nested(32))
    alice.expect(ack_1("OK", author=cast.alice, to=cast.bob))
    bob.expect(delivery("OK", author=cast.alice, message=nested(32)))

    alice.send_message(cast.bob, "DEEP", nested(33))
    alice.expect_error(400)
    for opening, closing in (("[", "]"), ('{"a":', "}"), ("['a',", "]"), ("{'a':", "}")):
        for depth in (33, 5_000, 40_000):
            text = opening * depth + "1" + closing * depth
            [answer] = answers_to(alice, text)
            check_error(answer, 400)
            [answer] = answers_to(alice, f'["action",{{"add":"relay"}},[{text}]]')
            check_error(answer, 400)
            [answer] = answers_to(alice, opening * depth)
            check_error(answer, 400)
    exchange_marker(alice, bob)


def test_numbers_beyond_json_or_a_double_are_refused_or_passed_on_and_never_raise(
    patient: Relay,
    cast: Cast,
) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)
    template = json.dumps(action(element(cast.bob, "M", {"n": "NUMBER"})))

    for name in ("NaN", "Infinity", "-Infinity", "nan", "1_000", "0x10", "01", "+1", ".5", "1."):
        [answer] = answers_to(alice, template.replace('"NUMBER"', name))
        check_error(answer, 400)

    huge = ("1e400", "-1e400", "1" + "0" * 400, "9" * 5000, "0." + "1" * 5000, "1e-400", "1E99999")
    for number, text in enumerate(huge):
        message_id = f"HUGE{number}"
        alice.send(template.replace('"NUMBER"', text).replace('"M"', f'"{message_id}"'))
        answer = alice.recv()
        if answer[0] == "Msg":
            assert answer == ack_1(message_id, author=cast.alice, to=cast.bob)
            assert f'"n":{text}' in bob.recv_text().replace(": ", ":")
        else:
            check_error(answer, 400)

    for text in huge:
        frame = json.dumps(receipt("M", 2, author=cast.eve, by=cast.alice, t="TIME"))
        answers = answers_to(alice, frame.replace('"TIME"', text))
        assert len(answers) <= 1
        [answer] = answers_to(alice, frame.replace("2", text, 1).replace('"TIME"', "1"))
        check_error(answer, 400)
        alice.send(
            json.dumps(action(element(cast.eve, f"T{text[:9]}", t="TIME"))).replace('"TIME"', text)
        )
        assert alice.recv()[0] in ("Msg", "error")
    exchange_marker(alice, bob)


def test_bytes_that_are_no_utf8_are_refused_and_binary_utf8_is_a_frame(
    patient: Relay, cast: Cast
) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)

    alice.send(json.dumps(action(element(cast.bob, "é")), ensure_ascii=False).encode())
    alice.expect(ack_1("é", author=cast.alice, to=cast.bob))
    bob.expect(delivery("é", author=cast.alice))
    alice.send(b"?,,")
    assert alice.recv_text().startswith("!")

    for data in (b"\xff", b'["action", "\xc3"]', b"\xed\xa0\x80", b"\x00\x01\x02", b""):
        alice.send(data)
        alice.expect_error(400, tag=ABSENT, message_id=ABSENT)
    exchange_marker(alice, bob)

    alice.send_text(b'["Msg", "\xff"]')
    alice.expect_close(1007)
    exchange_marker(patient.login(cast.alice), bob)


def test_a_frame_of_256_kib_in_fragments_or_not_is_read_and_a_larger_one_closes(
    patient: Relay,
    cast: Cast,
) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)
    limit = 256 * 1024

    # Cut inside the two bytes of the é, with a ping between the fragments.
    data = json.dumps(action(element(cast.bob, "é")), ensure_ascii=False).encode()
    middle = data.index("é".encode()) + 1
    alice.send_text(data[:middle], fin=False)
    alice.ping()
    alice.send_rest(data[middle:])
    alice.expect(ack_1("é", author=cast.alice, to=cast.bob))
    bob.expect(delivery("é", author=cast.alice))

    text = json.dumps(action(element(cast.bob, "M")))
    alice.send(text + " " * (limit - len(text)))
    alice.expect(ack_1("M", author=cast.alice, to=cast.bob))
    bob.expect(delivery("M", author=cast.alice))

    alice.send(text + " " * (limit - len(text) + 1))
    alice.expect_close(1009)

    # In fragments too, and before auth.
    client = patient.connect()
    client.send_text(b'["auth",', fin=False)
    for _ in range(4):
        client.send_rest(b" " * 65_536, fin=False)
    assert client.wait_for_close() == 1009
    exchange_marker(patient.login(cast.alice), bob)


def test_a_message_of_64_kib_is_accepted_and_a_larger_one_refused(
    patient: Relay, cast: Cast
) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)
    large = {"conversation": "x" * 65_000}

    alice.send_message(cast.bob, "OK", large)
    alice.expect(ack_1("OK", author=cast.alice, to=cast.bob))
    bob.expect(delivery("OK", author=cast.alice, message=large))

    too_large = {"conversation": "x" * 65_537}
    alice.send(action(element(cast.bob, "LARGE", too_large), element(cast.bob, "SMALL")))
    answers = {frame[0]: frame for frame in alice.recv_many(2)}
    check_error(answers["error"], 413, tag="action", message_id="LARGE")
    assert answers["Msg"] == ack_1("SMALL", author=cast.alice, to=cast.bob)
    bob.expect(delivery("SMALL", author=cast.alice))
    exchange_marker(alice, bob)


def test_an_action_of_256_messages_is_accepted_and_a_longer_one_refused_whole(
    patient: Relay,
    cast: Cast,
) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)
    ids = [f"M{number}" for number in range(256)]

    alice.send(action(*(element(cast.bob, message_id) for message_id in ids)))
    alice.expect(*(ack_1(message_id, author=cast.alice, to=cast.bob) for message_id in ids))
    bob.expect(*(delivery(message_id, author=cast.alice) for message_id in ids))

    alice.send(action(*(element(cast.bob, f"N{message_id}") for message_id in [*ids, "M256"])))
    alice.expect_error(413, tag="action")
    exchange_marker(alice, bob)


def test_a_tag_prefix_is_accepted_before_a_frame(patient: Relay, cast: Cast) -> None:
    alice, bob = patient.logged_in(cast.alice, cast.bob)

    for number, prefix in enumerate(("x1,", "goodbye,,", "3EB0.a_b-c,", "x" * 64 + ",,")):
        alice.send(prefix + json.dumps(action(element(cast.bob, f"M{number}"))))
        alice.expect(ack_1(f"M{number}", author=cast.alice, to=cast.bob))
        bob.expect(delivery(f"M{number}", author=cast.alice))
    for prefix in (",", "x,,,", "x y,", "x" * 65 + ",", "é,"):
        alice.send(prefix + json.dumps(action(element(cast.bob, "REFUSED"))))
        alice.expect_error(400, message_id=ABSENT)
    exchange_marker(alice, bob)


def test_a_rate_limit_refuses_with_429_where_the_operator_sets_one(
    start_relay: RelayStarter,
) -> None:
    relay = start_relay(config="[limits]\nframes_per_s = 1\nframes_burst = 10")
    bob = relay.login(BOB)
    began = time.monotonic()
    alice = relay.login(ALICE)

    for number in range(30):
        alice.send_message(BOB, f"M{number}")

    answers = alice.recv_many(30)
    # One more for each second that it took.
    most = 11 + time.monotonic() - began
    acked = [frame[1]["id"] for frame in answers if frame[0] == "Msg"]
    refused = [frame for frame in answers if frame[0] == "error"]
    assert 9 <= len(acked) <= most, acked
    for frame in refused:
        check_error(frame, 429, tag="action")
    bob.expect(*(delivery(message_id, author=ALICE) for message_id in acked))


def test_memory_is_flat_under_bad_frames(start_relay: RelayStarter) -> None:
    relay = start_relay(config=PATIENT)
    alice, bob = relay.logged_in(ALICE, BOB)
    seeded = random.Random(7)
    whole = json.dumps(action(element(BOB, "M", {"text": "x" * 2000})))
    frames = [
        "x" * 5000,
        '["' + "y" * 3000 + '"]',
        json.dumps(action(*(element("unknown@g.us", f"M{n}") for n in range(20)))),
        json.dumps(receipt("M" * 128, 9, author=EVE, by=ALICE, t=1)),
        "[" * 2000,
        "[action,{'a':'" + "b" * 2000,
    ]
    frames += [whole[: seeded.randrange(len(whole))] for _ in range(20)]

    def flood() -> None:
        for _ in range(60):
            for frame in frames:
                alice.send(frame)
            # One error for each frame, and 20 for the one with 20 messages.
            for answer in alice.recv_many(len(frames) + 19):
                check_error(answer, None)

    flood()
    before = relay.memory_bytes()
    for _ in range(3):
        flood()

    assert relay.memory_bytes() - before < 8 * MIB
    exchange_marker(alice, bob)
