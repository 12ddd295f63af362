"""Frames from clients: bytes in, one checked stanza out.

Every byte is hostile. Whatever a frame is, its cost is linear in its bytes, within five times that
of plain text (`tests/bench/bench_codec.py` holds it to that). The message is decoded once to prove
that it is valid JSON, and its own bytes travel on unchanged. The sheet's plain frames take one
typed step (`plain`); whatever that does not match goes through `_general`, which finds the precise
reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, assert_never

import msgspec

from relay.errors import FrameError, JidError, Refusal
from relay.protocol import frames, jid, plain, sheet
from relay.protocol.content import decode_any, decode_object, digest_of
from relay.protocol.nesting import brackets_of, has_few_brackets, is_deeper
from relay.protocol.request import (
    NO_CORRELATION,
    WHOLE_TEXT,
    Correlation,
    RequestKey,
    RequestRow,
    find_row,
    kind_of,
    tag_of,
)
from relay.protocol.stanza import (
    LEVEL_DELIVERED,
    LEVEL_PLAYED,
    MAX_ID_CHARS,
    Ack,
    Action,
    Auth,
    ExtensionRequest,
    InvalidAuth,
    Send,
    Stanza,
    Token,
)
from relay.protocol.times import message_time, read_time
from relay.protocol.typed import decode_odd_ack
from relay.settings.tables import LimitSettings

MAX_REASON_CHARS = 200
# Messages of one frame that are refused without an id, and have an error each: the last of them
# stands for all further ones too.
MAX_NAMELESS = 8
_NO_CONTENT = "message: an object with at least one key is expected"
_LEAST_WITH_ID = len('{"key":{"id":"1"}}')  # bytes of the least element that has an id
# Keys of a message element that only the server writes (R24); key.participant besides.
SERVER_KEYS = frozenset(
    {"participant", "status", "messageStubType", "messageStubParameters", "broadcast"}
)

_CORRELATION = re.compile(rb"([A-Za-z0-9._-]{1,64}),{1,2}(?=[\[{])")
# The beginning of a frame up to its tag, in either notation.
_FIRST = re.compile(
    rb"""(?:([A-Za-z0-9._-]{1,64}),{1,2}(?=[\[{]))?([ \t\n\r]*+\[[ \t\n\r]*+)"""
    rb"""(?:"((?:[^"\\]|\\.){0,64}+)"|'([^'\\]{0,64}+)'|([A-Za-z_][A-Za-z0-9_]{0,63}+))"""
)
_CORE_TAGS = frozenset({"action", "Msg", "MsgInfo"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_JSON_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Codec:
    """Turns the payload of one WebSocket message into a stanza, under the given limits.

    `requests` is the table of what the extensions take; the core's own tags are none of theirs.
    """

    def __init__(
        self, limits: LimitSettings, requests: Mapping[RequestKey, RequestRow] | None = None
    ) -> None:
        self._limits = limits
        self._requests = requests or {}
        self._request_tags = {tag for tag, _ in self._requests}
        self._early_tags = {"auth"} | {
            tag for (tag, _), row in self._requests.items() if row.before_login
        }
        self._texts = {
            tag.encode(): row for (tag, kind), row in self._requests.items() if kind == WHOLE_TEXT
        }

    def adopt(self, limits: LimitSettings) -> None:
        """Decode under other limits from here on, for every session."""
        self._limits = limits

    def decode(self, payload: bytes, *, user: str, now_s: int) -> Stanza:
        """Return what `payload` (at most `frame_bytes`) means.

        `user` is who the session is logged in as, and becomes the author of what it sends; empty
        before auth.

        Raises:
            FrameError: the frame as a whole is refused (R28). What is wrong with one message of an
                `action` stands in its place among the elements instead.
        """
        limits = self._limits
        if payload.startswith(b'["action"') and len(payload) <= limits.message_bytes:
            sends = plain.sends_in(
                payload,
                user,
                now_s=now_s,
                most=limits.messages_per_action,
                nesting=limits.nesting,
            )
            if sends is not None:
                return Action(sends)
        elif payload.startswith(b'["Msg'):
            ack = plain.ack_in(payload)
            if ack is not None:
                return ack
            if has_few_brackets(payload, limits.nesting) and _is_utf8(payload):
                try:
                    return self._ack(payload)
                except FrameError:
                    pass  # the general way finds the reason, and the tag for it
        return self._general(payload, user, now_s)

    def decode_early(self, payload: bytes, *, now_s: int) -> Auth | InvalidAuth | ExtensionRequest:
        """Return what a frame before the login means; of most only the tag is looked at.

        Raises:
            FrameError: it is none of those that are allowed then (401), or no frame.
        """
        if payload not in self._texts:
            tag, prefix, rest = _first_of(payload)
            if tag in _CORE_TAGS:
                raise FrameError(401, "not authenticated", tag=tag)
            if tag not in self._early_tags:
                named = _name_in(rest) or prefix or tag
                raise FrameError.of(Refusal(401, "not authenticated", named, prefix=prefix))
        try:
            stanza = self._general(payload, "", now_s)
        except FrameError as error:
            if not error.refusal.tag:
                raise
            refusal = error.refusal._replace(code=401, reason="not authenticated")
            raise FrameError.of(refusal) from None
        match stanza:
            case Auth() | InvalidAuth():
                return stanza
            case ExtensionRequest(before_login=True):
                return stanza
            case ExtensionRequest():
                prefix = stanza.correlation.prefix
                refusal = Refusal(401, "not authenticated", stanza.named, prefix=prefix)
            case Action() | Ack():  # its tag is an extension's too
                refusal = Refusal(401, "not authenticated")
            case _:
                assert_never(stanza)
        raise FrameError.of(refusal)

    def _send(
        self,
        user: str,
        message_id: str,
        chat: tuple[str, bool],
        content: Mapping[str, Any],
        message: bytes,
        time: object,
        now_s: int,
        key_extra: bytes,
        extra: bytes,
    ) -> Send:
        if not _is_id(message_id):
            raise _no_id()
        if not content:
            raise _no_content()
        time_s = message_time(time, now_s=now_s)
        local, is_group = chat
        if is_group:
            frame = frames.delivered_to_group(
                user, local, message_id, message, time_s, key_extra, extra
            )
        else:
            frame = frames.delivered_to_user(user, message_id, message, time_s, key_extra, extra)
        return Send(local, is_group, message_id, time_s, digest_of(content), frame)

    def _general(self, payload: bytes, user: str, now_s: int) -> Stanza:
        if not _is_utf8(payload):
            raise FrameError(400, "a binary message must be UTF-8")
        text = self._texts.get(payload)
        if text is not None:
            body = text.decode(())
            return ExtensionRequest(
                text.owner, text.key, body, NO_CORRELATION, text.before_login, is_json=False
            )
        found = _CORRELATION.match(payload)
        if not found:
            return self._tagged(payload, "", user, now_s)
        prefix = found[1].decode()
        try:
            return self._tagged(payload[found.end() :], prefix, user, now_s)
        except FrameError as error:
            # A request that named itself gets that name back (E2).
            refusal = error.refusal
            if not refusal.prefix:
                refusal = refusal._replace(tag=prefix, prefix=prefix)
            raise FrameError.of(refusal) from None

    def _tagged(self, payload: bytes, prefix: str, user: str, now_s: int) -> Stanza:
        try:
            parts = _decode_array(payload)
        except msgspec.ValidationError:
            raise FrameError(400, "a frame is a JSON array") from None
        except _JSON_ERRORS:
            payload = sheet.to_json(payload.decode(), max_depth=self._limits.nesting)
            try:
                parts = _decode_array(payload)
            except _JSON_ERRORS:
                raise FrameError(400, "a frame is a JSON array") from None
        else:
            nesting = self._limits.nesting
            if not has_few_brackets(payload, nesting) and is_deeper(brackets_of(payload), nesting):
                raise FrameError(400, f"nesting exceeds {nesting}")
        tag = _string(parts[0]) if parts else None
        if tag is None:
            raise FrameError(400, "the first element of a frame is its tag, a string")
        if tag == "auth":
            return _auth(parts)
        if tag in self._request_tags:
            row = find_row(self._requests, tag, kind_of(parts))
            if row is not None:
                return _request(row, parts, prefix)
        try:
            if tag == "action":
                return self._action(parts, user, now_s)
            if tag in ("Msg", "MsgInfo"):
                return self._ack(payload)
        except FrameError as error:
            raise FrameError.of(error.refusal._replace(tag=tag)) from None
        named = _name_of(parts) or prefix or tag[:64]
        raise FrameError.of(Refusal(400, "unknown frame", tag=named, prefix=prefix))

    def _action(self, parts: list[msgspec.Raw], user: str, now_s: int) -> Action:
        if len(parts) != 3:
            raise FrameError(400, 'expected ["action", {"add": "relay"}, [message, ...]]')
        kind = _value(parts[1])
        if not isinstance(kind, dict) or "relay" not in (kind.get("add"), kind.get("type")):
            raise FrameError(400, 'the second element of an action is {"add": "relay"}')
        if "add" in kind and kind["add"] != "relay":
            raise FrameError(400, 'add: only "relay" is known')
        try:
            elements = _decode_array(parts[2])
        except _JSON_ERRORS:
            raise FrameError(
                400, "the third element of an action is an array of messages"
            ) from None
        if not elements:
            raise FrameError(400, "an action carries at least one message")
        if len(elements) > self._limits.messages_per_action:
            raise FrameError(
                413, f"{len(elements)} messages exceed {self._limits.messages_per_action} an action"
            )
        return self._elements(elements, user, now_s)

    def _elements(self, raws: list[msgspec.Raw], user: str, now_s: int) -> Action:
        """Return the elements in order; of those that have no id few get an error each."""
        elements: list[Send | Refusal] = []
        refused = nameless = 0
        for raw in raws:
            if nameless >= MAX_NAMELESS and len(bytes(raw)) < _LEAST_WITH_ID:
                refused += 1
                nameless += 1
                continue
            element = self._element(raw, user, now_s)
            if isinstance(element, Refusal):
                refused += 1
                if not element.message_id:
                    nameless += 1
                    if nameless > MAX_NAMELESS:
                        continue
                    if nameless == MAX_NAMELESS:
                        stands_for_all = len(elements)
            elements.append(element)
        if nameless > MAX_NAMELESS:
            elements[stands_for_all] = Refusal(
                400,
                f"{nameless - MAX_NAMELESS + 1} more messages of this frame have no usable id or no"
                " form, and are refused",
                tag="action",
            )
        return Action(elements, refused)

    def _element(self, raw: msgspec.Raw, user: str, now_s: int) -> Send | Refusal:
        """Return the checked element, or why it is refused (2.3.2: shape, id, jid, size)."""
        known_id = ""
        is_of_content = False
        try:
            # What is wrong most cheaply is told without an exception, for frames full of it.
            if not bytes(raw).startswith(b"{"):
                return Refusal(400, "a message is an object", "action")
            element = _object(raw, "a message is an object")
            raw_key = element.pop("key", None)
            if raw_key is None:
                return Refusal(400, "key: an object is expected", "action")
            key = _object(raw_key, "key: an object is expected")
            message_id = _string(key.pop("id", None))
            if message_id is not None and _is_id(message_id):
                known_id = message_id
            message = bytes(element.pop("message", b""))
            if not message.startswith(b"{"):
                return Refusal(400, _NO_CONTENT, "action", known_id)
            content = _content(message)
            time = element.pop("messageTimestamp", None)
            time_value = None if time is None else _time_value(time)
            key.pop("fromMe", None)
            key_extra = _members(key, without={"participant", "remoteJid"})
            extra = _members(element, without=SERVER_KEYS)
            is_of_content = True
            if not known_id:
                raise _no_id()
            chat = jid.parse_chat(_string(key.get("remoteJid")) or "")
            size = len(bytes(raw))
            if size > self._limits.message_bytes:
                raise FrameError(413, f"{size} bytes exceed {self._limits.message_bytes} a message")
            return self._send(
                user, known_id, chat, content, message, time_value, now_s, key_extra, extra
            )
        except JidError as error:
            refusal = Refusal(400, f"key.remoteJid: {error}")
        except FrameError as error:
            refusal = error.refusal
        return Refusal(
            refusal.code, refusal.reason, "action", known_id, None, "", of_content=is_of_content
        )

    def _ack(self, payload: bytes) -> Ack:
        try:
            tag, body = decode_odd_ack(payload)
        except _JSON_ERRORS as error:
            raise FrameError(400, _reason(error)) from None
        if tag not in ("Msg", "MsgInfo"):
            raise FrameError(400, "unknown frame")
        ids = body.message_id if isinstance(body.message_id, list) else [body.message_id]
        if not ids:
            raise FrameError(400, "id: at least one is expected")
        if len(ids) > self._limits.ids_per_ack:
            raise FrameError(413, f"{len(ids)} ids exceed {self._limits.ids_per_ack} an ack")
        for message_id in ids:
            if not _is_id(message_id):
                raise _no_id()
        known_id = ids[0] if len(ids) == 1 else ""
        if body.cmd not in ("ack", "acks"):
            raise FrameError(400, 'cmd: "ack" or "acks" is expected', message_id=known_id)
        level = _level(body.ack)
        if level is None:
            raise FrameError(
                400, "ack: 2 delivered, 3 read or 4 played is expected", message_id=known_id
            )
        try:
            author, author_is_group = jid.parse_chat(body.author)
            chat, chat_is_group = jid.parse_chat(body.to)
        except JidError as error:
            raise FrameError(400, f"from, to: {error}", message_id=known_id) from None
        if author_is_group and chat_is_group:
            raise FrameError(400, "from: the author, a user, is expected", message_id=known_id)
        return Ack(
            tag,
            ids,
            level,
            author,
            author_is_group,
            chat,
            chat_is_group,
            read_time(_time_value(body.t)),
        )


def _first_of(payload: bytes) -> tuple[str, str, bytes]:
    """Return the tag of a frame, its prefix, and the frame without that; it is not decoded."""
    found = _FIRST.match(payload)
    if found is None:
        raise FrameError(400, "the first element of a frame is its tag, a string")
    prefix, _, quoted, single, bare = found.groups(b"")
    try:
        tag = (quoted or single or bare).decode()
        if "\\" in tag:
            tag = decode_any(f'"{tag}"')
    except _JSON_ERRORS:
        raise FrameError(400, "the first element of a frame is its tag, a string") from None
    return tag, prefix.decode(), payload[found.start(2) :]


def _name_in(frame: bytes) -> str:
    """Return how what may be a request names itself (E2); only that is decoded."""
    try:
        return tag_of(_decode_array(frame))
    except (*_JSON_ERRORS, FrameError):
        return ""


def _no_id() -> FrameError:
    return FrameError(
        400, f"id: a string of 1 to {MAX_ID_CHARS} characters without control characters"
    )


def _no_content() -> FrameError:
    return FrameError(400, _NO_CONTENT)


def _is_id(text: str) -> bool:
    if not 0 < len(text) <= MAX_ID_CHARS:
        return False
    # Printable ASCII, which every usual id is, holds no control character; the rest is searched.
    return (text.isascii() and text.isprintable()) or not _CONTROL.search(text)


def _level(value: int | str) -> int | None:
    if isinstance(value, str):
        if not (len(value) == 1 and value in "234"):
            return None
        return int(value)
    return value if LEVEL_DELIVERED <= value <= LEVEL_PLAYED else None


def _auth(parts: list[msgspec.Raw]) -> Auth | InvalidAuth:
    try:
        if len(parts) != 3:
            return InvalidAuth('expected ["auth", {"type": "new"}, {"remoteJid": "..."}]')
        options, identity = _value(parts[1]), _value(parts[2])
    except FrameError as error:
        return InvalidAuth(error.refusal.reason)
    if not isinstance(options, dict) or options.get("type") not in ("new", "resume"):
        return InvalidAuth('type: "new" or "resume" is expected')
    caps = options.get("caps", [])
    if not isinstance(caps, list) or not all(isinstance(name, str) for name in caps):
        return InvalidAuth("caps: an array of names is expected")
    if not isinstance(identity, dict):
        return InvalidAuth("remoteJid: a user's jid is expected")
    try:
        user = jid.parse_user(identity.get("remoteJid"))  # refuses what is no string
    except JidError as error:
        return InvalidAuth(f"remoteJid: {error}"[:MAX_REASON_CHARS])
    token = identity.get("token")
    return Auth(
        user,
        resume=options["type"] == "resume",
        caps=tuple(caps) if "caps" in options else None,
        token=Token(token) if isinstance(token, str) else None,
    )


def _name_of(parts: list[msgspec.Raw]) -> str:
    """Return the `tag` of what may be a request that is not known here (E2)."""
    try:
        return tag_of(parts)
    except FrameError:
        return ""


def _request(row: RequestRow, parts: list[msgspec.Raw], prefix: str) -> ExtensionRequest:
    correlation = Correlation(prefix)
    try:
        correlation = Correlation(prefix, tag_of(parts))
        body = row.decode(parts)
    except FrameError as error:
        named = correlation.tag or prefix or row.key[0]
        raise FrameError.of(error.refusal._replace(tag=named, prefix=prefix)) from None
    return ExtensionRequest(row.owner, row.key, body, correlation, row.before_login, is_json=True)


def _value(raw: msgspec.Raw) -> object:
    """Decode fully; this is what proves that a part which travels on as bytes is valid."""
    try:
        return decode_any(raw)
    except _JSON_ERRORS as error:
        raise FrameError(400, _reason(error)) from None


def _content(message: bytes) -> dict[str, Any]:
    """Decode a message, which proves that it is valid; it has at least one key."""
    try:
        content = decode_object(message)
    except _JSON_ERRORS as error:
        raise FrameError(400, _reason(error)) from None
    if not content:
        raise _no_content()
    return content


def _time_value(raw: msgspec.Raw) -> object:
    """Decode a time; what is none, and be it a number beyond all bounds, is server time (R9)."""
    try:
        return decode_any(raw)
    except _JSON_ERRORS:
        return None


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _object(raw: msgspec.Raw, otherwise: str) -> dict[str, msgspec.Raw]:
    try:
        return _decode_object(raw)
    except _JSON_ERRORS:
        raise FrameError(400, otherwise) from None


def _string(raw: msgspec.Raw | None) -> str | None:
    if raw is None:
        return None
    value = _value(raw)
    return value if isinstance(value, str) else None


def _members(members: dict[str, msgspec.Raw], *, without: set[str] | frozenset[str]) -> bytes:
    """Return further members as JSON text to append to an object, each value's bytes kept."""
    text = []
    for name, raw in members.items():
        if name in without:
            continue
        _value(raw)
        text.append(b", %b: %b" % (msgspec.json.encode(name), bytes(raw)))
    return b"".join(text)


def _reason(error: Exception) -> str:
    return str(error)[:MAX_REASON_CHARS]
