"""The frames of traced users, as their front reads and writes them.

A session that is traced gets another codec and another way to frame texts, which note what passes.
All others keep theirs, so a trace costs them nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from relay import clock
from relay.errors import FrameError, Refusal
from relay.front.session import StanzaReader
from relay.front.visitors import shown
from relay.inquiries.contract import NoAnswer
from relay.inquiries.tracing import AskNotes, Notes, Trace, Traces
from relay.protocol.codec import Codec
from relay.protocol.stanza import Ack, Action, Auth, ExtensionRequest, InvalidAuth, Send, Stanza

# Deeper than any frame that the relay writes.
_MAX_DEPTH: Final = 6


class Traced(Protocol):
    """A connection whose frames can be watched."""

    def watch(self, codec: StanzaReader, framed: Callable[[bytes], bytes]) -> None:
        """Read frames by `codec`, and write texts as `framed` makes frames of them."""

    @property
    def address(self) -> object:
        """Where the client is."""

    @property
    def user(self) -> str:
        """Who is logged in."""


class Tracing:
    """The one of a front; `framed` is how texts become frames."""

    def __init__(
        self, clients: Mapping[int, Any], codec: Codec, framed: Callable[[bytes], bytes]
    ) -> None:
        self._clients = clients
        self._codec = codec
        self._framed = framed
        self._traces = Traces()
        self._watched: dict[int, Trace] = {}  # by session

    def asked(self, asked: AskNotes) -> Notes | NoAnswer:
        """Begin or go on to trace a user, and return what was noted."""
        self.tick(clock.clock_ms())
        trace = self._traces.asked(asked, now_us=clock.now_us(), clock_ms=clock.clock_ms())
        if isinstance(trace, NoAnswer):
            return trace
        client: Traced | None = self._clients.get(asked.session)
        if client is not None and client.user == asked.user:
            self._watch(asked.session, client, trace)
        return trace.notes(asked)

    def logged_in(self, session: int, client: Traced) -> None:
        """Look whether who has logged in is traced."""
        trace = self._traces.of.get(client.user)
        if trace is not None:
            trace.add("logged_in", clock.now_us(), detail=f"from {shown(client.address)}")
            self._watch(session, client, trace)

    def gone(self, session: int) -> None:
        """Take it that a session has ended."""
        trace = self._watched.pop(session, None)
        if trace is not None:
            trace.add("gone", clock.now_us())

    def tick(self, clock_ms: int) -> None:
        """End what nobody asks for any more."""
        for trace in self._traces.take_ended(clock_ms):
            for session in [each for each, its in self._watched.items() if its is trace]:
                del self._watched[session]
                client: Traced | None = self._clients.get(session)
                if client is not None:
                    client.watch(self._codec, self._framed)

    def _watch(self, session: int, client: Traced, trace: Trace) -> None:
        if self._watched.get(session) is trace:
            return
        self._watched[session] = trace
        framed = self._framed

        def noting(text: bytes) -> bytes:
            _note_written(trace, text)
            return framed(text)

        client.watch(_NotingCodec(self._codec, trace), noting)


class _NotingCodec:
    """Decodes as `codec` does, and notes what it was."""

    def __init__(self, codec: Codec, trace: Trace) -> None:
        self._codec = codec
        self._trace = trace

    def decode(self, payload: bytes, *, user: str, now_s: int) -> Stanza:
        at_us = clock.now_us()
        try:
            stanza = self._codec.decode(payload, user=user, now_s=now_s)
        except FrameError as error:
            self._note_refused(error, at_us, payload)
            raise
        _note_read(self._trace, stanza, payload, at_us)
        return stanza

    def decode_early(self, payload: bytes, *, now_s: int) -> Auth | InvalidAuth | ExtensionRequest:
        return self._codec.decode_early(payload, now_s=now_s)

    def _note_refused(self, error: FrameError, at_us: int, payload: bytes) -> None:
        # Without its text: what is no frame may have been a login, with a token.
        refusal = error.refusal
        detail = f"refused with {refusal.code}: {refusal.reason}"
        self._trace.add("read", at_us, kind=refusal.tag, detail=detail, size=len(payload))


def _note_read(trace: Trace, stanza: Stanza, payload: bytes, at_us: int) -> None:
    size = len(payload)
    match stanza:
        case Action(elements):
            # A frame's messages may be for several.
            for chat in dict.fromkeys(_chat_of(each) for each in elements):
                ids = tuple(e.message_id for e in elements if _chat_of(e) == chat)
                refused = {e.code for e in elements if isinstance(e, Refusal)} if not chat else ()
                trace.add(
                    "read",
                    at_us,
                    kind="action",
                    ids=tuple(filter(None, ids)),
                    peer=chat,
                    detail="refused with " + ", ".join(map(str, refused)) if refused else "",
                    size=size,
                    text=payload,
                )
        case Ack():
            trace.add(
                "read",
                at_us,
                kind=stanza.tag,
                ids=tuple(stanza.message_ids),
                peer=stanza.chat,
                detail=f"ack {stanza.level}",
                size=size,
                text=payload,
            )
        case ExtensionRequest():
            trace.add("read", at_us, kind=stanza.named, detail=stanza.owner, size=size)
        case Auth() | InvalidAuth():
            trace.add("read", at_us, kind="auth", size=size)  # without its text: it has a token


def _chat_of(element: Send | Refusal) -> str:
    return element.chat if isinstance(element, Send) else ""


def _note_written(trace: Trace, text: bytes) -> None:
    at_us, size = clock.now_us(), len(text)
    try:
        frame = msgspec.json.decode(text[text.index(b"[") :])
        kind, body = str(frame[0]), frame[1] if len(frame) > 1 else None
        if kind == "q" and isinstance(body, dict):
            frame = msgspec.json.decode(body["data"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        trace.add("written", at_us, kind="text", size=size, text=text)
        return
    ids: list[str] = []
    _collect_ids(frame, ids, 0)
    detail = ""
    if isinstance(body, dict):
        words = [f"ack {body['ack']}"] if "ack" in body else []
        words += [str(body[each]) for each in ("status", "code", "kind", "reason") if each in body]
        detail = " ".join(words)
    trace.add("written", at_us, kind=kind, ids=tuple(ids), detail=detail, size=size, text=text)


def _collect_ids(value: Any, ids: list[str], depth: int) -> None:
    """Find the ids of messages: of `key`s, and of what says how far a message is."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, dict):
        key = value.get("key", value)
        found = key.get("id") if isinstance(key, dict) else None
        several = found if isinstance(found, list) else [found]
        ids += (each for each in several if isinstance(each, str))
    elif isinstance(value, list):
        for each in value:
            _collect_ids(each, ids, depth + 1)
