"""Frames that are the dearest of their kinds, valid and not, each as long as a frame may be."""

from __future__ import annotations

from relay.settings.tables import LimitSettings

_LIMITS = LimitSettings()
_WHOLE = _LIMITS.frame_bytes - 400
_ELEMENT = _LIMITS.message_bytes - 400
_KEY = '"key": {"remoteJid": "919428284313@s.whatsapp.com", "fromMe": true, "id": "3EB0%016X"}'
_SHEET_ACK = (
    "[Msg,{'id': '3EB0A1ED1B05362823BC', 'ack': 2, 'cmd': 'ack', 'to': '919428284313@c.us', "
    "'t': '1566971275', 'from': '917069852821@c.us', 'x': "
)
_DEEP = "[" * 26 + "]" * 26 + ","


def _fill(unit: str, size: int = _WHOLE, opening: str = "[", closing: str = "]") -> str:
    """Return as many units as fit between the ends; each unit ends with a comma."""
    return opening + (unit * ((size - len(opening) - len(closing)) // len(unit)))[:-1] + closing


def _action(*messages: str, tag: str = '"action"') -> str:
    elements = ", ".join(
        f'{{"message": {message}, {_KEY % n}, "messageTimestamp": "1566970629"}}'
        for n, message in enumerate(messages)
    )
    return f'[{tag}, {{"add": "relay"}}, [{elements}]]'


def _messages(unit: str, opening: str = '{"a":[', closing: str = "]}") -> str:
    """Return an action of four messages that are as long as one may be."""
    return _action(*[_fill(unit, _ELEMENT, opening, closing)] * 4)


def _refused(element: str) -> str:
    return '["action",{"add":"relay"},' + _fill(element + ",", 257 * (len(element) + 1)) + "]"


def _ack(ids: str, more: str = "") -> str:
    return (
        f'["Msg", {{"id": {ids}, "ack": 2, "cmd": "ack", "to": "919428284313@c.us", '
        f'"t": "1566970629", "from": "917069852821@c.us"{more}}}]'
    )


# The sheet's own message (2.3), as many as one frame may have: what the others are held against.
PLAIN = _action(*['{"conversation": "message"}'] * _LIMITS.messages_per_action).encode()

_TEXTS = {
    "messages of numbers 1e300": _messages("1e300,"),
    "messages of numbers 1e-310": _messages("1e-310,"),
    "messages of numbers 1.2345678901234567e-300": _messages("1.2345678901234567e-300,"),
    "messages of numbers 1.5": _messages("1.5,"),
    "messages of digits: 1": _messages("1,"),
    "messages of digits: 300 each": _messages("9" * 300 + ","),
    "messages of digits: 4,000 each": _messages("9" * 4000 + ","),
    "messages of digits: a double of 20 among strings": _messages(
        '"",', '{"a":18446744073709551616,"b":['
    ),
    "messages of brackets": _messages("[],"),
    "messages of braces": _messages("{},"),
    "messages of brackets 26 deep": _messages(_DEEP),
    "messages of empty strings": _messages('"",'),
    "messages of escapes": _messages('"\\u00e9",'),
    "messages of one key again and again": _messages('"a":1,', "{", "}"),
    "a message with further keys": _action('{"a": 1}').replace(
        '"message"', f'"x": {_fill("[],")}, "message"'
    ),
    "a message with a time of brackets": _action('{"a": 1}').replace('"1566970629"', _fill("[],")),
    "messages in sheet notation: brackets": _action(
        _fill("[],", _ELEMENT, '{"a":[', ",]}"), tag="action"
    ),
    "messages in sheet notation: 1e300": _action(
        _fill("1e300,", _ELEMENT, '{"a":[', ",]}"), tag="action"
    ),
    "refused messages: 1": _refused("1"),
    "refused messages: {}": _refused("{}"),
    "refused messages: no jid": _refused('{"key":{"id":"1","remoteJid":"?"},"message":{"a":1}}'),
    "refused messages: with an id": _refused('{"key":{"id":"1"},"message":1}'),
    "an action of more than messages": '["action", {"add": "relay", "x": '
    + _fill("1e300,")
    + "}, [1]]",
    "an ack": _ack('"3EB0A1ED1B05362823BC"'),
    "an ack of 1,000 ids": _ack(_fill('"3EB0",', 7000)),
    "an ack with a further key: brackets": _ack('"1"', ', "x": ' + _fill("[],")),
    "an ack with a further key: 1e300": _ack('"1"', ', "x": ' + _fill("1e300,")),
    "an ack in sheet notation": _SHEET_ACK + "1}]",
    "an ack in sheet notation: brackets": _SHEET_ACK + _fill("[],") + "}]",
    "an ack in sheet notation: literals": _SHEET_ACK + _fill("True,") + "}]",
    "an ack in sheet notation: strings": _SHEET_ACK + _fill("'',") + "}]",
    "an ack in sheet notation: quotes of both kinds": _SHEET_ACK + _fill("'\"',") + "}]",
    "an ack in sheet notation: escapes": _SHEET_ACK + _fill("'\\'',") + "}]",
    "sheet notation: tags": "[Msg," + _fill("[a ],") + "]",
    "sheet notation: trailing commas": "[Msg, " + _fill("[1,],") + "]",
    "sheet notation: brackets 26 deep": "[Msg," + _fill(_DEEP) + "]",
    "a login with further keys": '["auth",{"type":"new","x":' + _fill("[],") + '},{"remoteJid":1}]',
    "a login with capabilities": '["auth",{"type":"new","caps":' + _fill('"a",') + "},1]",
    "a request with further keys": '["query",{"type":"server","x":' + _fill("1e300,") + "},null]",
    "a request of no kind": '["query",{"type":' + _fill("1e300,") + "},null]",
    "a request of many kinds": '["query",' + _fill('"type":1,', opening="{", closing="}") + "]",
    "an unknown frame": '["foo",' + _fill("[],") + "]",
    "no frame: brackets without ends": "[" * _WHOLE,
    "no frame: brackets and braces": "[{" * (_WHOLE // 2),
    "no frame: pairs without ends": '["x"' + ",[]" * (_WHOLE // 3),
    "no frame: strings without commas": '[""' + '""' * (_WHOLE // 2),
    "no frame: quotes without ends": "['" + '"' * _WHOLE,
    "no frame: spaces": "[" + " " * _WHOLE,
    "no frame: backslashes": "[Msg," + "\\" * _WHOLE,
    "no frame: words": "[a,b" + " b" * (_WHOLE // 2) + "]",
    "no frame: prefixes": "a,," * (_WHOLE // 3),
    "no frame: too deep": '["x",' + "[" * 40 + "]" * 40 + _fill("[],", opening=",") + "]",
}
DEAREST = {name: text.encode() for name, text in _TEXTS.items()}
DEAREST["no frame: bytes that are no UTF-8"] = b'["x' + b"\xff" * _WHOLE
DEAREST["an ack of 1,000 long ids"] = _ack(_fill('"' + "é" * 100 + '",', 103_000)).encode()
