"""The example frames of the protocol sheet, as printed there, get the frames of PROTOCOL section 2.

What is sent is the sheet's text to the byte, line breaks included; only the sheet's `remoteJid`
variable is filled in. What comes back is compared as parsed JSON, with equal key sets.
"""

import json

import pytest

from tests.outside.frames import ALICE, BOB, Frame, queued_in
from tests.outside.relay import Relay

LOGIN = '["auth", {"type": "new"}, {"remoteJid":"917069852821@s.whatsapp.com"}]'
SEND = """["action", {"add": "relay"}, [{"message": {"conversation": 'message'}, "key": {
    "remoteJid": '919428284313@s.whatsapp.com', "fromMe": True, "id": '3EB0A1ED1B05362823BC'}, \
"messageTimestamp":'1566970629'}]]"""
ACK = (
    "[Msg,{'id': '3EB0A1ED1B05362823BC', 'ack': 2, 'cmd': 'ack', 'to': '919428284313@c.us',"
    " 't': '1566971275', 'from': '917069852821@c.us'}]"
)
GROUP_SEND = (
    '[action,{\'add\': \'relay\'},[{"key": {"fromMe": true, "id": "3EB09ACC2D709AB09850",'
    ' "remoteJid": "917069852821-1566557065@g.us"}, "message": {"conversation": "Test msg Group"},'
    ' "messageTimestamp": "1566971560"}]]'
)
GROUP_ACK = (
    '[MsgInfo, {"from": "917069852821@c.us", "ack": 2, "cmd": "ack",'
    '"to": "917069852821-1566557065@g.us", "participant": "919428284313@sc.us" ,'
    ' "id": "3EB0F517CDA590E6B488", "t": "1566971560"}]'
)
ID_PRINTED_AND_MEANT = ("3EB0F517CDA590E6B488", "3EB09ACC2D709AB09850")

AUTH_REPLY: Frame = ["auth", {"from": "backend", "status": "success"}]
EMPTY_Q: Frame = ["q", {"data": "[[]]", "from": "backend"}]
DELIVERY: Frame = [
    "action",
    {"add": "relay"},
    [
        {
            "key": {
                "fromMe": False,
                "id": "3EB0A1ED1B05362823BC",
                "remoteJid": "917069852821@s.whatsapp.com",
            },
            "message": {"conversation": "message"},
            "messageTimestamp": "1566970629",
        }
    ],
]
GROUP_DELIVERY: Frame = [
    "action",
    {"add": "relay"},
    [
        {
            "key": {
                "fromMe": False,
                "id": "3EB09ACC2D709AB09850",
                "remoteJid": "917069852821-1566557065@g.us",
            },
            "participant": "917069852821@s.whatsapp.net",
            "message": {"conversation": "Test msg Group"},
            "messageTimestamp": "1566971560",
        }
    ],
]

as_printed = pytest.mark.parametrize("printed", [True, False], ids=["as-printed", "strict-json"])


def strict(text: str) -> str:
    """The same frame as strict JSON: tag and strings in double quotes, `True` as `true`."""
    head, comma, rest = text.removeprefix("[").partition(",")
    tag = head.strip('"')
    frame = json.loads(f'["{tag}"{comma}{rest}'.replace("'", '"').replace("True", "true"))
    return json.dumps(frame)


def notation(text: str, *, printed: bool) -> str:
    return text if printed else strict(text)


def group_receipt_of(message_id: str) -> Frame:
    return [
        "MsgInfo",
        {
            "from": "917069852821@c.us",
            "ack": 2,
            "cmd": "ack",
            "to": "917069852821-1566557065@g.us",
            "participant": "919428284313@c.us",
            "id": message_id,
            "t": 1566971560,
        },
    ]


@as_printed
def test_login_message_and_ack_examples_get_their_answers(relay: Relay, printed: bool) -> None:
    alice, bob = relay.connect(), relay.connect()

    alice.send(notation(LOGIN, printed=printed))

    alice.expect(AUTH_REPLY, EMPTY_Q)

    # Sent to one who is away: the example of `q`.
    alice.send(notation(SEND, printed=printed))

    alice.expect(
        [
            "Msg",
            {
                "id": "3EB0A1ED1B05362823BC",
                "ack": 1,
                "cmd": "ack",
                "to": "919428284313@c.us",
                "t": 1566970629,
                "from": "917069852821@c.us",
            },
        ]
    )
    bob.send(notation(LOGIN.replace(ALICE, BOB), printed=printed))
    bob.expect(AUTH_REPLY)
    assert queued_in(bob.recv()) == [DELIVERY]

    bob.send(notation(ACK, printed=printed))

    alice.expect(
        [
            "Msg",
            {
                "id": "3EB0A1ED1B05362823BC",
                "ack": 2,
                "cmd": "ack",
                "to": "919428284313@c.us",
                "t": 1566971275,
                "from": "917069852821@c.us",
            },
        ]
    )
    alice.expect_nothing()
    bob.expect_nothing()

    # Sent to one who is there, under an id of its own: the example of a live message.
    alice.send(notation(SEND.replace("23BC", "23BD"), printed=printed))

    bob.expect(json.loads(json.dumps(DELIVERY).replace("23BC", "23BD")))


@as_printed
def test_group_examples_get_their_answers(relay: Relay, printed: bool) -> None:
    alice, bob = relay.logged_in(ALICE, BOB)

    alice.send(notation(GROUP_SEND, printed=printed))

    alice.expect(
        [
            "Msg",
            {
                "id": "3EB09ACC2D709AB09850",
                "ack": 1,
                "cmd": "ack",
                "to": "917069852821-1566557065@g.us",
                "t": 1566971560,
                "from": "917069852821",
            },
        ]
    )
    bob.expect(GROUP_DELIVERY)

    # As printed, its id is that of no message: relayed live, with the acker's identity (R19 b).
    bob.send(notation(GROUP_ACK, printed=printed))

    alice.expect(group_receipt_of("3EB0F517CDA590E6B488"))

    # With the id that it means.
    bob.send(notation(GROUP_ACK, printed=printed).replace(*ID_PRINTED_AND_MEANT))

    alice.expect(group_receipt_of("3EB09ACC2D709AB09850"))
    alice.expect_nothing()
    bob.expect_nothing()
