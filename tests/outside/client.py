"""A client of the sheet that does one thing at a time, and what it expects to be told."""

import itertools
import json
import time
from typing import Final

from .frames import (
    AUTH_SUCCESS,
    SENT_AT,
    TEXT,
    Absent,
    Frame,
    ack_1,
    ack_of,
    action,
    auth_frame,
    check_error,
    delivery,
    element,
    queued_in,
    receipt,
    sorted_keys,
    spaced,
    strict_json,
    user_jid,
)
from .waiting import DEADLINE_S
from .websocket import WebSocket

FRAME_AFTER_S: Final = 1.1  # R7, and a little
_markers: Final = itertools.count(1)


class SheetClient(WebSocket):
    """One user's connection: sends what it is given, and answers no message by itself.

    After `login` its `user` is who it is, and `queued` is what waited for it.
    """

    def __init__(
        self, url: str, *, answer_pings: bool = True, receive_buffer_bytes: int | None = None
    ) -> None:
        super().__init__(url, answer_pings=answer_pings, receive_buffer_bytes=receive_buffer_bytes)
        self.user = ""
        self.queued: list[Frame] = []
        self.last_text = ""

    def __str__(self) -> str:
        return self.user or super().__str__()

    # What goes out.

    def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame: a list as JSON, a str as it is, bytes as a binary message."""
        if isinstance(frame, bytes):
            self.send_binary(frame)
        else:
            self.send_text(frame.encode() if isinstance(frame, str) else spaced(frame))

    def send_message(
        self, to: str, message_id: str, message: object = TEXT, t: object = str(SENT_AT)
    ) -> None:
        self.send(action(element(to, message_id, message, t)))

    def ack(self, frame: Frame, level: object = 2, t: object = str(SENT_AT)) -> None:
        """Acknowledge a delivered `action` frame as the sheet's client does."""
        self.send(ack_of(frame, level, by=self.user, t=t))

    # What comes in.

    def recv(self, deadline_s: float = DEADLINE_S) -> Frame:
        """Return the next frame; it must be strict JSON (R1) and an array with a tag."""
        self.last_text = text = self.recv_text(deadline_s)
        frame = strict_json(text)
        assert isinstance(frame, list), text
        assert frame, text
        assert isinstance(frame[0], str), text
        return frame

    def recv_many(self, count: int) -> list[Frame]:
        return [self.recv() for _ in range(count)]

    def recv_available(self) -> list[Frame]:
        """Return the frames that have come already, without waiting for any."""
        return [self.recv() for _ in range(self.read_available())]

    def expect(self, *frames: Frame) -> None:
        """The next frames are these, in this order, with no other key or element."""
        for frame in frames:
            came = self.recv()
            assert came == frame, f"\ncame:     {came}\nexpected: {frame}"

    def expect_in_any_order(self, *frames: Frame) -> None:
        """The next frames are these, in whatever order."""
        came = self.recv_many(len(frames))
        assert sorted(map(json.dumps, sorted_keys(came))) == sorted(
            map(json.dumps, sorted_keys(frames))
        ), f"\ncame:     {came}\nexpected: {list(frames)}"

    def expect_nothing(self) -> None:
        """Whatever the front has for this client has been read: a `?,,` is answered next.

        A frame may still be on its way from another process; `exchange_marker` waits for those.
        """
        self.send("?,,")
        text = self.recv_text()
        assert text.startswith("!"), f"nothing was to come, but this came: {text}"
        assert text[1:].isdigit(), text

    def confirm(self) -> None:
        """Have what the pongs so far cover be confirmed, by a frame that comes later (R7)."""
        self.expect_nothing()  # so the front has read them
        time.sleep(FRAME_AFTER_S)
        self.expect_nothing()

    def expect_error(
        self,
        code: int,
        *,
        tag: str | Absent | None = None,
        message_id: str | Absent | None = None,
    ) -> Frame:
        """The next frame is an `error` of PROTOCOL 2.8."""
        frame = self.recv()
        check_error(frame, code, tag=tag, message_id=message_id)
        return frame

    def expect_failure(self, code: int) -> Frame:
        """The next frame is the answer to an `auth` that failed (PROTOCOL 2.2 rule 4)."""
        frame = self.recv()
        assert frame[0] == "auth", frame
        assert len(frame) == 2, frame
        body = frame[1]
        extra = {"retryAfter"} if code == 429 else set()
        assert body.keys() == {"from", "status", "code", "reason"} | extra, frame
        assert body["from"] == "backend", frame
        assert body["status"] == "failure", frame
        assert body["code"] == code, frame
        assert isinstance(body["reason"], str), frame
        return frame

    # Whole conversations.

    def login(self, jid: str) -> list[Frame]:
        """Log in; return the frames of the first `q`, which is the only one of a short queue."""
        self.user = jid.partition("@")[0]
        self.send(auth_frame(user_jid(jid)))
        self.expect(AUTH_SUCCESS)
        self.queued = queued_in(self.recv())
        return self.queued

    def login_pages(self, jid: str, count: int) -> list[list[Frame]]:
        """Log in where `count` frames wait; return them by `q` frame."""
        pages = [self.login(jid)]
        while sum(map(len, pages)) < count:
            pages.append(queued_in(self.recv()))
        return pages


def exchange_marker(author: SheetClient, reader: SheetClient) -> None:
    """Send a message and its ack through; nothing else may reach the two before or meanwhile.

    The marker takes the way of any message from `author` to `reader` and the way back of any ack,
    so whatever either had sent to the other before, directly, would have arrived first.
    """
    message_id = f"MARKER{next(_markers)}"
    author.send_message(reader.user, message_id)
    author.expect(ack_1(message_id, author=author.user, to=reader.user))
    came = reader.recv()
    assert came == delivery(message_id, author=author.user), came
    reader.ack(came, t=SENT_AT)
    author.expect(receipt(message_id, 2, author=author.user, by=reader.user, t=SENT_AT))
    author.expect_nothing()
    reader.expect_nothing()
