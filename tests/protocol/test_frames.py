"""The frames that the relay sends: the sheet's to the byte, strict JSON for any text in them."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import Refusal
from relay.protocol import frames

ALICE, BOB = "917069852821", "919428284313"
GROUP = "917069852821-1566557065"


def test_the_delivery_of_the_sheet() -> None:
    frame = frames.delivered_to_user(
        author=ALICE,
        message_id="3EB09E5B1E31CE48730C",
        message=b'{"conversation": "Test msg"}',
        time_s=1566970464,
        key_extra=b"",
        extra=b"",
    )

    assert frame == (
        b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": "3EB09E5B1E31CE48730C", '
        b'"remoteJid": "917069852821@s.whatsapp.com"}, "message": {"conversation": "Test msg"}, '
        b'"messageTimestamp": "1566970464"}]]'
    )


def test_the_group_delivery_of_the_sheet() -> None:
    frame = frames.delivered_to_group(
        author=ALICE,
        group=GROUP,
        message_id="3EB09ACC2D709AB09850",
        message=b'{"conversation": "Test msg Group"}',
        time_s=1566971560,
        key_extra=b"",
        extra=b"",
    )

    assert frame == (
        b'["action", {"add": "relay"}, [{"key": {"fromMe": false, "id": "3EB09ACC2D709AB09850", '
        b'"remoteJid": "917069852821-1566557065@g.us"}, '
        b'"participant": "917069852821@s.whatsapp.net", '
        b'"message": {"conversation": "Test msg Group"}, "messageTimestamp": "1566971560"}]]'
    )


def test_r24_further_members_stand_at_the_end_of_the_key_and_of_the_element() -> None:
    for delivered in (
        frames.delivered_to_user(
            author=ALICE,
            message_id="1",
            message=b"{}",
            time_s=1,
            key_extra=b', "a": 1, "b": [2]',
            extra=b', "c": {}',
        ),
        frames.delivered_to_group(
            author=ALICE,
            group=GROUP,
            message_id="1",
            message=b"{}",
            time_s=1,
            key_extra=b', "a": 1, "b": [2]',
            extra=b', "c": {}',
        ),
    ):
        ((_, _, (element,)),) = [json.loads(delivered)]
        assert list(element["key"]) == ["fromMe", "id", "remoteJid", "a", "b"]
        assert list(element)[-1] == "c"


def test_the_ack_1_of_the_sheet() -> None:
    frame = frames.stored_for_user(
        message_id="3EB0A1ED1B05362823BC", author=ALICE, recipient=BOB, time_s=1566970629
    )

    assert frame == (
        b'["Msg", {"id": "3EB0A1ED1B05362823BC", "ack": 1, "cmd": "ack", '
        b'"to": "919428284313@c.us", "t": 1566970629, "from": "917069852821@c.us"}]'
    )


def test_the_group_ack_1_of_the_sheet_comes_from_the_bare_local_part() -> None:
    frame = frames.stored_for_group(
        message_id="3EB09ACC2D709AB09850", author=ALICE, group=GROUP, time_s=1566971560
    )

    assert frame == (
        b'["Msg", {"id": "3EB09ACC2D709AB09850", "ack": 1, "cmd": "ack", '
        b'"to": "917069852821-1566557065@g.us", "t": 1566971560, "from": "917069852821"}]'
    )


def test_the_receipt_of_the_sheet() -> None:
    frame = frames.receipt(
        message_id="3EB0A1ED1B05362823BC",
        level=2,
        author=ALICE,
        acker=BOB,
        group="",
        time_s=1566971275,
    )

    assert frame == (
        b'["Msg", {"id": "3EB0A1ED1B05362823BC", "ack": 2, "cmd": "ack", '
        b'"to": "919428284313@c.us", "t": 1566971275, "from": "917069852821@c.us"}]'
    )


def test_the_group_receipt_of_the_sheet() -> None:
    frame = frames.receipt(
        message_id="3EB09ACC2D709AB09850",
        level=2,
        author=ALICE,
        acker=BOB,
        group=GROUP,
        time_s=1566971560,
    )

    assert frame == (
        b'["MsgInfo", {"from": "917069852821@c.us", "ack": 2, "cmd": "ack", '
        b'"to": "917069852821-1566557065@g.us", "participant": "919428284313@c.us", '
        b'"id": "3EB09ACC2D709AB09850", "t": 1566971560}]'
    )


def auth_success(*, caps: list[str] | None, resume: bool) -> bytes:
    return frames.auth_success(
        caps=caps, resume=resume, device="0", session_id="9f1c0b52", time_s=1566970629
    )


def test_the_answer_to_a_login_of_the_sheet() -> None:
    frame = auth_success(caps=None, resume=False)

    assert frame == b'["auth", {"from": "backend", "status": "success"}]'


@pytest.mark.parametrize(
    ("caps", "resume", "added"),
    [
        ([], False, {"caps": [], "device": "0", "sessionId": "9f1c0b52", "t": 1566970629}),
        (None, True, {"resumed": False, "sessionId": "9f1c0b52"}),
        (
            ["chat"],
            True,
            {
                "caps": ["chat"],
                "device": "0",
                "sessionId": "9f1c0b52",
                "t": 1566970629,
                "resumed": False,
            },
        ),
    ],
)
def test_e1_a_login_that_asked_for_extensions_is_told_what_it_got(
    caps: list[str] | None, resume: bool, added: dict[str, Any]
) -> None:
    frame = auth_success(caps=caps, resume=resume)

    assert json.loads(frame) == ["auth", {"from": "backend", "status": "success", **added}]


def test_a_failed_login() -> None:
    frame = frames.auth_failure(code=401, reason="invalid token")

    assert json.loads(frame) == [
        "auth",
        {"from": "backend", "status": "failure", "code": 401, "reason": "invalid token"},
    ]
    assert json.loads(frames.auth_failure(code=429, reason="r", retry_after_s=3))[1] == {
        "from": "backend",
        "status": "failure",
        "code": 429,
        "reason": "r",
        "retryAfter": 3,
    }


def test_an_error_names_what_is_known() -> None:
    full = frames.refusal(
        Refusal(
            404,
            "unknown group",
            tag="action",
            message_id="3EB09ACC2D709AB09850",
            retry_after_s=1,
        )
    )

    assert json.loads(full) == [
        "error",
        {
            "from": "backend",
            "type": "error",
            "code": 404,
            "reason": "unknown group",
            "tag": "action",
            "id": "3EB09ACC2D709AB09850",
            "retryAfter": 1,
        },
    ]
    assert json.loads(frames.refusal(Refusal(400, "r"))) == [
        "error",
        {"from": "backend", "type": "error", "code": 400, "reason": "r"},
    ]


def test_the_notices_before_a_close() -> None:
    assert frames.DISCONNECT_REPLACED == b'["Cmd", {"type": "disconnect", "kind": "replaced"}]'
    assert frames.DISCONNECT_SHUTDOWN == b'["Cmd", {"type": "disconnect", "kind": "shutdown"}]'


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_any_id_and_reason_come_out_as_they_are(text: str) -> None:
    delivered = frames.delivered_to_user(
        author="1", message_id=text, message=b"{}", time_s=1, key_extra=b"", extra=b""
    )
    in_group = frames.delivered_to_group(
        author="1", group="2", message_id=text, message=b"{}", time_s=1, key_extra=b"", extra=b""
    )
    told = [
        frames.stored_for_user(message_id=text, author="1", recipient="2", time_s=1),
        frames.stored_for_group(message_id=text, author="1", group="2", time_s=1),
        frames.receipt(message_id=text, level=2, author="1", acker="2", group="", time_s=1),
        frames.receipt(message_id=text, level=2, author="1", acker="2", group="3", time_s=1),
        frames.refusal(Refusal(400, text, tag=text, message_id=text)),
    ]

    for frame in (delivered, in_group):
        assert json.loads(frame)[2][0]["key"]["id"] == text
    for frame in told:
        assert json.loads(frame)[1]["id"] == text
    assert json.loads(told[-1])[1]["reason"] == json.loads(told[-1])[1]["tag"] == text


@pytest.mark.parametrize(
    "message_id", ["M1", '"remoteJid": "15550199@s.whatsapp.com"', 'x", "remoteJid": "1@g.us', "é€"]
)
@pytest.mark.parametrize("group", ["", "917069852821-1566557065"])
def test_the_author_of_a_delivered_frame_is_who_wrote_it_whatever_the_frame_holds(
    group: str, message_id: str
) -> None:
    forged = b'"participant": "15550199@s.whatsapp.net"'
    parts = {
        "author": "917069852821",
        "message_id": message_id,
        "message": b'{"remoteJid": "15550199@s.whatsapp.com", %b}' % forged,
        "time_s": 1566970629,
        "key_extra": b', "a": {"b": {}, %b}, "c": [{}, {%b}]' % (forged, forged),
        "extra": b', "d": {%b}' % forged,
    }
    frame: bytes = (
        frames.delivered_to_group(group=group, **parts)  # type: ignore[arg-type]
        if group
        else frames.delivered_to_user(**parts)  # type: ignore[arg-type]
    )

    assert frames.author_of(frame) == "917069852821"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b'"remoteJid": "',
        b'"remoteJid": "917069852821',
        b'["action", "remoteJid": "1@g.us"',
    ],
)
def test_what_is_no_delivered_frame_has_no_author(frame: bytes) -> None:
    assert frames.author_of(frame) == ""
