"""A real relay and a raw client to speak with it: what the integration tests stand on.

`Relay` runs `supervisor.py` on a free port with a directory of its own. `SheetClient` knows of the
protocol what the sheet tells: it sends what it is given, parses what comes and answers no message
by itself. Nothing here sleeps for a guessed time: every wait is for something and has a deadline.
"""

import contextlib
import itertools
import json
import math
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NoReturn

import psutil  # type: ignore[import-untyped]
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from relay.protocol.slots import shard_ranges, slot_of
from relay.settings.tables import ServerSettings, Settings
from workers.tools.reshard import reshard

Frame = list[Any]

REPOSITORY: Final = Path(__file__).resolve().parents[2]

# Long enough for a machine with every core busy: only a failing test waits this long.
DEADLINE_S: Final = 15.0

# The users and the group of the protocol sheet, and two more users.
ALICE: Final = "917069852821"
BOB: Final = "919428284313"
CAROL: Final = "919354513536"
EVE: Final = "919971033011"
GROUP: Final = "917069852821-1566557065@g.us"

# The time of the sheet's 1-1 example, and its text.
SENT_AT: Final = 1566970629
TEXT: Final = {"conversation": "Test msg"}

AUTH_SUCCESS: Final[Frame] = ["auth", {"from": "backend", "status": "success"}]
EMPTY_Q: Final[Frame] = ["q", {"data": "[[]]", "from": "backend"}]

_markers = itertools.count(1)


class Absent:
    """Says that a key must not be there, where None says that it does not matter."""


ABSENT: Final = Absent()


class ConnectionOver(Exception):
    """The server ended the connection; `code` is its close code, 1006 without a close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the connection was closed with {code} {reason!r}")
        self.code = code
        self.reason = reason


# --- frames, as PROTOCOL section 2 has them ---------------------------------------------------


def auth_frame(jid: str) -> Frame:
    return ["auth", {"type": "new"}, {"remoteJid": jid}]


def user_jid(user: str) -> str:
    """The jid of a bare local part as a sheet client would write it; a full one stays."""
    return user if "@" in user else f"{user}@s.whatsapp.com"


def element(to: str, message_id: str, message: object = TEXT, t: object = str(SENT_AT)) -> Any:
    """One message element of an `action` frame."""
    return {
        "message": message,
        "key": {"remoteJid": user_jid(to), "fromMe": True, "id": message_id},
        "messageTimestamp": t,
    }


def action(*elements: object) -> Frame:
    return ["action", {"add": "relay"}, list(elements)]


def ack_1(message_id: str, *, author: str, to: str, t: int = SENT_AT) -> Frame:
    """What the author gets once the message is stored; `to` is a bare user or a group jid."""
    if to.endswith("@g.us"):
        return _msg(message_id, 1, to=to, t=t, author=author)
    return receipt(message_id, 1, author=author, by=to, t=t)


def receipt(message_id: str, level: int, *, author: str, by: str, t: object) -> Frame:
    """What the author of a 1-1 message gets, and what its recipient `by` sends."""
    return _msg(message_id, level, to=f"{by}@c.us", t=t, author=f"{author}@c.us")


def _msg(message_id: str, level: int, *, to: str, t: object, author: str) -> Frame:
    return ["Msg", {"id": message_id, "ack": level, "cmd": "ack", "to": to, "t": t, "from": author}]


def group_receipt(
    message_id: str, level: int, *, author: str, by: str, t: object, group: str = GROUP
) -> Frame:
    """What the author of a group message gets for the member `by`, and what that member sends."""
    return [
        "MsgInfo",
        {
            "from": f"{author}@c.us",
            "ack": level,
            "cmd": "ack",
            "to": group,
            "participant": f"{by}@c.us",
            "id": message_id,
            "t": t,
        },
    ]


def delivery(
    message_id: str, *, author: str, message: object = TEXT, t: int = SENT_AT, **extra: object
) -> Frame:
    """What the recipient of a 1-1 message gets."""
    key = {"fromMe": False, "id": message_id, "remoteJid": f"{author}@s.whatsapp.com"}
    return action({"key": key, "message": message, "messageTimestamp": str(t), **extra})


def group_delivery(
    message_id: str,
    *,
    author: str,
    message: object = TEXT,
    t: int = SENT_AT,
    group: str = GROUP,
) -> Frame:
    """What a member gets of a message to the group."""
    return action(
        {
            "key": {"fromMe": False, "id": message_id, "remoteJid": group},
            "participant": f"{author}@s.whatsapp.net",
            "message": message,
            "messageTimestamp": str(t),
        }
    )


def message_id_of(frame: Frame) -> str:
    """The message id of an `action` that was delivered, or of a `Msg` or `MsgInfo`."""
    message_id: str = frame[2][0]["key"]["id"] if frame[0] == "action" else frame[1]["id"]
    return message_id


def queued_in(q: Frame) -> list[Frame]:
    """The frames that a `q` frame carries, after a check of its form (R3 to R5)."""
    assert q[0] == "q", q
    assert len(q) == 2, q
    assert q[1].keys() == {"data", "from"}, q
    assert q[1]["from"] == "backend", q
    data = q[1]["data"]
    assert isinstance(data, str), q
    assert data.isascii(), data
    assert "'" not in data, data
    sentinel, *frames = strict_json(data)
    assert sentinel == [], data
    return list(frames)


def strict_json(text: str) -> Any:
    """Parse JSON as RFC 8259 has it, without the NaN and Infinity that Python lets pass."""
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


# --- jids ------------------------------------------------------------------------------------


def users_of_shard(shard: int, *, workers: int = 2, prefix: str = "91") -> Iterator[str]:
    """Yield users, `prefix` and a number, whose mailboxes worker `shard` of `workers` owns."""
    slots = shard_ranges(workers)[shard]
    users = (f"{prefix}{number}" for number in itertools.count())
    return (user for user in users if slot_of(user) in slots)


def shard_of(local: str, *, workers: int = 2) -> int:
    """The index of the worker that owns `local`."""
    slot = slot_of(local)
    return next(index for index, slots in enumerate(shard_ranges(workers)) if slot in slots)


@dataclass(frozen=True)
class Cast:
    """The people of one test, where many share a relay, and the group of the first three.

    Each lives in the shard, of two, in which its namesake among the constants lives.
    """

    alice: str
    bob: str
    carol: str
    eve: str
    group: str

    def others(self, shard: int) -> Iterator[str]:
        """Yield further users, whom no other cast has; worker `shard` of two owns them."""
        return users_of_shard(shard, prefix=f"{self.alice}-")


def casts() -> Iterator[Cast]:
    """Yield casts that have nobody in common, without end, and the same in each process."""
    roles = map(_namesakes, (ALICE, BOB, CAROL, EVE, GROUP.removesuffix("@g.us")))
    for alice, bob, carol, eve, group in zip(*roles, strict=True):
        yield Cast(alice, bob, carol, eve, f"{group}@g.us")


def _namesakes(local: str) -> Iterator[str]:
    return users_of_shard(shard_of(local), prefix=local)


# --- waiting ---------------------------------------------------------------------------------


def poll_for(what: str, condition: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
    """Wait until `condition()` holds; `what` says in the failure what did not happen."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s:g} s: {what}")
        time.sleep(0.01)


def lives(process: Any) -> bool:
    """Whether this psutil process runs; one that init has not yet taken note of does not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# --- the client ------------------------------------------------------------------------------


class SheetClient:
    """One raw WebSocket connection.

    It reads only inside the calls that wait for something, so a test decides when a frame is
    taken from the socket and when a ping is answered: `answer_pings` false answers none until
    `pong` is called; `pings` holds the payloads of those that came, oldest first.
    `receive_buffer_bytes` bounds what the kernel takes for a client that does not read.
    """

    def __init__(
        self, url: str, *, answer_pings: bool = True, receive_buffer_bytes: int | None = None
    ) -> None:
        self.answer_pings = answer_pings
        self.pings: list[bytes] = []
        self.user = ""
        self.queued: list[Frame] = []
        self.last_text = ""
        self._inbox: deque[str] = deque()
        self._pongs: list[bytes] = []
        self._outbox = bytearray()
        self._at_eof = False
        uri = parse_uri(url)
        self._protocol = ClientProtocol(uri, max_size=2**24)
        self._socket = socket.socket()
        if receive_buffer_bytes is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._socket.settimeout(DEADLINE_S)
        try:
            self._socket.connect((uri.host, uri.port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setblocking(False)
            self._protocol.send_request(self._protocol.connect())
            self._flush()
            self._pump_until(lambda: self._protocol.state is State.OPEN, "the handshake's answer")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "SheetClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.drop()

    # What goes out.

    def send(self, frame: Frame | str | bytes) -> None:
        """Send a frame: a list as JSON, a str as it is, bytes as a binary message."""
        if isinstance(frame, bytes):
            self._protocol.send_binary(frame)
            self._flush()
        else:
            self.send_text(frame.encode() if isinstance(frame, str) else json.dumps(frame).encode())

    def send_text(self, data: bytes, *, fin: bool = True) -> None:
        """Send a text message of any bytes; `fin` false leaves it open for `send_rest`.

        Raises:
            ConnectionOver: the server's close frame is here already, be it unread.
        """
        try:
            self._protocol.send_text(data, fin=fin)
        except InvalidState:
            raise ConnectionOver(
                self.close_code, self._protocol.close_reason or "before it was sent"
            ) from None
        self._flush()

    def send_rest(self, data: bytes, *, fin: bool = True) -> None:
        """Send a further fragment of the message that `send_text` left open."""
        self._protocol.send_continuation(data, fin=fin)
        self._flush()

    def send_raw(self, data: bytes) -> None:
        """Send bytes below the WebSocket protocol."""
        self._outbox += data
        self._flush()

    def send_message(
        self, to: str, message_id: str, message: object = TEXT, t: object = str(SENT_AT)
    ) -> None:
        self.send(action(element(to, message_id, message, t)))

    def ack(self, frame: Frame, level: object = 2, t: object = str(SENT_AT)) -> None:
        """Acknowledge a delivered `action` frame as the sheet's client does."""
        [message] = frame[2]
        chat, message_id = message["key"]["remoteJid"], message["key"]["id"]
        if "participant" in message:
            author = message["participant"].partition("@")[0]
            body = group_receipt(message_id, 0, author=author, by=self.user, t=t, group=chat)
        else:
            author = chat.partition("@")[0]
            body = receipt(message_id, 0, author=author, by=self.user, t=t)
        body[1]["ack"] = level
        self.send(body)

    def ping(self, payload: bytes = b"still there?") -> None:
        """Send a WebSocket ping and wait for its pong."""
        self._protocol.send_ping(payload)
        self._flush()
        self._pump_until(lambda: payload in self._pongs, f"the pong of {payload!r}")
        self._pongs.remove(payload)

    def pong(self, payload: bytes) -> None:
        """Answer a ping by hand."""
        self._protocol.send_pong(payload)
        self._flush()

    # What comes in.

    def recv_text(self, deadline_s: float = DEADLINE_S) -> str:
        """Return the next text message.

        Raises:
            ConnectionOver: the server closed the connection, and everything before was read.
        """
        self._pump_until(lambda: bool(self._inbox) or self._at_eof, "a frame", deadline_s)
        if not self._inbox:
            raise ConnectionOver(self.close_code, self._protocol.close_reason or "")
        return self._inbox.popleft()

    def recv(self, deadline_s: float = DEADLINE_S) -> Frame:
        """Return the next frame; it must be strict JSON (R1) and an array with a tag."""
        self.last_text = text = self.recv_text(deadline_s)
        frame = strict_json(text)
        assert isinstance(frame, list), text
        assert frame, text
        assert isinstance(frame[0], str), text
        return frame

    def recv_raw(self) -> bytes:
        """Return every byte until the server ends the connection, below the WebSocket protocol."""
        self._socket.settimeout(DEADLINE_S)
        return b"".join(iter(lambda: self._socket.recv(2**16), b""))

    def recv_many(self, count: int) -> list[Frame]:
        return [self.recv() for _ in range(count)]

    def recv_available(self) -> list[Frame]:
        """Return the frames that have come already, without waiting for any."""
        while not self._at_eof and select.select([self._socket], [], [], 0)[0]:
            self._read_available()
        return [self.recv() for _ in range(len(self._inbox))]

    def expect(self, *frames: Frame) -> None:
        """The next frames are these, in this order, with no other key or element."""
        for frame in frames:
            came = self.recv()
            assert came == frame, f"\ncame:     {came}\nexpected: {frame}"

    def expect_in_any_order(self, *frames: Frame) -> None:
        """The next frames are these, in whatever order."""
        came = self.recv_many(len(frames))
        assert sorted(map(json.dumps, _sorted_keys(came))) == sorted(
            map(json.dumps, _sorted_keys(frames))
        ), f"\ncame:     {came}\nexpected: {list(frames)}"

    def expect_nothing(self) -> None:
        """Whatever the front has for this client has been read: a `?,,` is answered next.

        A frame may still be on its way from another process; `exchange_marker` waits for those.
        """
        self.send("?,,")
        text = self.recv_text()
        assert text.startswith("!"), f"nothing was to come, but this came: {text}"
        assert text[1:].isdigit(), text

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

    def expect_close(self, *codes: int, deadline_s: float = DEADLINE_S) -> None:
        """Nothing else comes, and the server closes the connection with one of `codes`."""
        self._pump_until(lambda: bool(self._inbox) or self._at_eof, "a close", deadline_s)
        assert not self._inbox, f"a close with {codes} was to come, but this: {self._inbox[0]}"
        assert self.close_code in codes, f"closed with {self.close_code}, not {codes}"

    def wait_for_pings(self, count: int, deadline_s: float = DEADLINE_S) -> None:
        """Wait until `count` pings have come since `pings` was last emptied."""
        self._pump_until(lambda: len(self.pings) >= count, f"{count} pings", deadline_s)

    def wait_for_close(self, deadline_s: float = DEADLINE_S) -> int:
        """Read and drop what comes until the connection is over; return the close code."""
        self._pump_until(lambda: self._at_eof, "the end of the connection", deadline_s)
        return self.close_code

    @property
    def local_port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def close_code(self) -> int:
        """The server's close code; 1006 where the connection ended without one."""
        close = self._protocol.close_rcvd
        return 1006 if close is None else int(close.code)

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

    def close(self) -> None:
        """Close in order: when this returns, the front has let the session go."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()
        # What still comes is thrown away: the test has seen all that it wanted.
        self._pump_until(lambda: self._at_eof, "the end of the closing handshake")
        self._socket.close()

    def half_close(self) -> None:
        """Say on TCP that nothing more will be sent, and go on reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Cut the connection without a word, as a network does."""
        self._socket.close()

    # Below: bytes.

    def _flush(self) -> None:
        """Write what the protocol has; read meanwhile, so that no two full buffers wait."""
        self._outbox += b"".join(self._protocol.data_to_send())
        deadline = time.monotonic() + DEADLINE_S
        while self._outbox and not self._at_eof:
            try:
                del self._outbox[: self._socket.send(self._outbox)]
            except BlockingIOError:
                self._wait(deadline, "room to write", write=True)
                self._read_available()
            except OSError:
                # The server has closed; what it sent before tells the rest.
                self._outbox.clear()

    def _pump_until(
        self, condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S
    ) -> None:
        deadline = time.monotonic() + deadline_s
        while not condition():
            if self._at_eof:
                raise ConnectionOver(self.close_code, f"while waiting for {what}")
            self._wait(deadline, what)
            self._read_available()

    def _wait(self, deadline: float, what: str, *, write: bool = False) -> None:
        remaining = deadline - time.monotonic()
        writers = [self._socket] if write else []
        ready = select.select([self._socket], writers, [], max(0.0, remaining))
        if not any(ready):
            raise AssertionError(f"{self.user or 'the client'} waited in vain for {what}")

    def _read_available(self) -> None:
        try:
            data = self._socket.recv(2**16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if data:
            self._protocol.receive_data(data)
        else:
            self._at_eof = True
            self._protocol.receive_eof()
        for event in self._protocol.events_received():
            self._take(event)
        self._send_answers()

    def _take(self, event: object) -> None:
        if isinstance(event, Response):
            assert event.status_code == 101, event
            return
        assert isinstance(event, WebSocketFrame), event
        match event.opcode:
            case Opcode.TEXT:
                assert event.fin, "the relay sends a frame as one WebSocket frame"
                self._inbox.append(bytes(event.data).decode())
            case Opcode.PING:
                self.pings.append(bytes(event.data))
            case Opcode.PONG:
                self._pongs.append(bytes(event.data))
            case Opcode.CLOSE:
                pass
            case _:
                raise AssertionError(f"the relay sends text, but this came: {event}")

    def _send_answers(self) -> None:
        """Send what the protocol answers by itself: pongs, unless withheld, and the close frame."""
        if self._protocol.state is State.CLOSED:
            self._at_eof = True
        if self.answer_pings or self._protocol.close_rcvd is not None:
            self._flush()
        else:
            self._protocol.data_to_send()


def check_error(
    frame: Frame,
    code: int | None,
    *,
    tag: str | Absent | None = None,
    message_id: str | Absent | None = None,
) -> None:
    """Assert that `frame` is an `error` of PROTOCOL 2.8; None leaves a value open."""
    assert frame[0] == "error", frame
    assert len(frame) == 2, frame
    body = frame[1]
    known = {"from", "type", "code", "reason"}
    assert known <= body.keys() <= known | {"tag", "id", "retryAfter"}, frame
    assert body["from"] == "backend", frame
    assert body["type"] == "error", frame
    assert isinstance(body["code"], int), frame
    assert code is None or body["code"] == code, frame
    assert isinstance(body["reason"], str), frame
    assert body["reason"], frame
    assert ("retryAfter" in body) == (body["code"] in (429, 503)), frame
    for key, value in (("tag", tag), ("id", message_id)):
        if isinstance(value, Absent):
            assert key not in body, frame
        elif value is not None:
            assert body.get(key) == value, frame


def _sorted_keys(frames: Sequence[Frame]) -> list[Any]:
    return [json.loads(json.dumps(frame, sort_keys=True)) for frame in frames]


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


# --- the relay -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Child:
    """A process of the relay below the supervisor."""

    role: str  # "worker" or "front"
    index: int
    process: Any


class Relay:
    """A relay in processes of its own; as a context manager it is started and always cleaned up.

    `config` is TOML text; `groups` maps a group's jid to its members' local parts. `own_session`
    keeps it out of the caller's session, whose Ctrl-C and niceness it then does not share.
    """

    def __init__(
        self,
        *,
        workers: int = 2,
        fronts: int = 1,
        config: str = "",
        groups: Mapping[str, Sequence[str]] | None = None,
        own_session: bool = False,
    ) -> None:
        # Not below pytest's long tmp_path: the bus has sockets here, and their paths are bounded.
        self.directory = Path(tempfile.mkdtemp(prefix="relay-test-"))
        self.url = ""
        self._workers = workers
        self._fronts = fronts
        self._own_session = own_session
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._clients: list[SheetClient] = []
        self._log_path = self.directory / "log"
        self.config_path = self.directory / "relay.toml"
        self.groups_path = self.directory / "groups.json"
        self._expected_log: list[str] = []
        self._last_log = ""
        # Every process ever seen: the children of a supervisor that died are no one's children.
        self._seen: set[Any] = set()
        self.config_path.write_text(config)
        self._has_groups = groups is not None
        self.write_groups(groups or {})

    def __enter__(self) -> "Relay":
        try:
            self.start()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop; after a good test also assert that it stops in order and that the log is clean."""
        try:
            if kind is None and self._process is not None:
                # A client that does not read answers no close frame, and the front would wait.
                self.drop_clients()
                self.stop()
                self.assert_clean_log()
        finally:
            self.clean_up()

    @property
    def port(self) -> int:
        return parse_uri(self.url).port

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor; it must have been started."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start on the data of before, if any; return when the ready line has come."""
        self._lay_out()
        command = [sys.executable, "supervisor.py", "--port", "0"]
        command += ["--data", str(self.directory / "data"), "--log-format", "json"]
        command += ["--workers", str(self._workers), "--fronts", str(self._fronts)]
        command += ["--config", str(self.config_path)]
        if self._has_groups:
            command += ["--groups", str(self.groups_path)]
        run = self.directory / "run"
        run.mkdir(exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env={**environment, "TMPDIR": str(run)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=self._own_session,
            )
        self.url = self._url_of(self._read_ready_line())
        self.children()

    def _lay_out(self) -> None:
        """Make the stores here: the supervisor would take a process of its own for it.

        Its doing so is what test_supervisor and test_reshard are about.
        """
        data = self.directory / "data"
        if data.exists() or "[store]" in self.config_path.read_text():
            return
        data.mkdir(mode=0o700)
        server = ServerSettings(workers=self._workers, fronts=self._fronts, data=str(data))
        reshard(data, Settings(server=server))

    def _read_ready_line(self) -> str:
        stdout = self.process.stdout
        assert stdout is not None
        line = b""
        deadline = time.monotonic() + 2 * DEADLINE_S
        while not line.endswith(b"\n"):
            remaining = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([stdout], [], [], remaining)
            byte = os.read(stdout.fileno(), 1) if readable else b""
            if not byte:
                how = f"exit {self.process.poll()}" if readable else "in time"
                raise AssertionError(f"no ready line: {how}; so far {line!r}\n{self.log_text()}")
            line += byte
        return line.decode().rstrip("\n")

    def _url_of(self, line: str) -> str:
        ready, url, *counts = line.split(" ")
        assert ready == "ready", line
        assert counts == [f"fronts={self._fronts}", f"workers={self._workers}"], line
        assert url.startswith("ws://127.0.0.1:"), line
        assert url.endswith("/"), line
        return url

    # Clients.

    def connect(
        self, *, answer_pings: bool = True, receive_buffer_bytes: int | None = None
    ) -> SheetClient:
        """Return a new connection, not yet logged in; it is cut when the relay is cleaned up."""
        client = SheetClient(
            self.url, answer_pings=answer_pings, receive_buffer_bytes=receive_buffer_bytes
        )
        self._clients.append(client)
        return client

    def login(self, user: str, *, answer_pings: bool = True) -> SheetClient:
        """Return a new session of `user`; what waited for it is in its `queued`."""
        client = self.connect(answer_pings=answer_pings)
        client.login(user)
        return client

    def drop_clients(self) -> None:
        """Cut the connection of every client so far, without a word."""
        while self._clients:
            self._clients.pop().drop()

    # Groups.

    def write_groups(self, groups: Mapping[str, Sequence[str]]) -> None:
        """Write the provisioning file; `reload` makes the relay read it."""
        document = {
            jid: {
                "subject": "a group",
                "participants": [f"{member}@c.us" for member in members],
                "admins": [f"{member}@c.us" for member in members[:1]],
            }
            for jid, members in groups.items()
        }
        self.groups_path.write_text(json.dumps(document))

    def reload(self) -> None:
        """Ask the supervisor to read the settings and the provisioning file again."""
        self.process.send_signal(signal.SIGHUP)

    # Processes.

    def children(self, role: str | None = None) -> list[Child]:
        """The living workers and fronts, or those of one role, by index."""
        if self._process is None or self._process.poll() is not None:
            return []
        children = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = process.cmdline()
                if "-m" not in command or "--index" not in command:
                    continue
                module = command[command.index("-m") + 1]
                index = int(command[command.index("--index") + 1])
                name = {"workers": "worker", "relay.front": "front"}[module]
                children.append(Child(name, index, process))
                self._seen.add(process)
        children.sort(key=lambda child: (child.role, child.index))
        return [child for child in children if role in (None, child.role)]

    def limit_file_size(self, limit_bytes: int | None) -> None:
        """Let no process of the relay, nor a successor, write a file beyond that; None lets them.

        The kernel then refuses such a write as a disk would, while smaller files are written.
        """
        soft = resource.RLIM_INFINITY if limit_bytes is None else limit_bytes
        processes = [psutil.Process(self.process.pid)]
        processes += [child.process for child in self.children()]
        for process in processes:
            process.rlimit(psutil.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def memory_bytes(self) -> int:
        """Resident memory of all workers and fronts together, without the store's mapped file."""
        infos = [child.process.memory_info() for child in self.children()]
        return sum(info.rss - info.shared for info in infos)

    def front_of(self, client: SheetClient) -> int | None:
        """The index of the front that has the socket of `client`; None once it was let go."""
        for child in self.children("front"):
            for connection in child.process.net_connections("tcp"):
                if connection.raddr and connection.raddr.port == client.local_port:
                    return child.index
        return None

    def connect_to_front(self, index: int) -> SheetClient:
        """Connect until the kernel, which spreads connections, has chosen this front."""
        for _ in range(200):
            client = self.connect()
            if self.front_of(client) == index:
                return client
            client.drop()
        raise AssertionError(f"no connection reached front {index}")

    def ask_to_stop(self) -> None:
        """Send SIGTERM; `stop` then waits."""
        self._stopping = True
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Stop in order: SIGTERM, exit 0, and no process is left."""
        children = self.children()
        if not self._stopping:
            self.ask_to_stop()
        code = self.process.wait(2 * DEADLINE_S)
        assert code == 0, f"exit {code} after SIGTERM\n{self.log_text()}"
        alive = [child for child in children if child.process.is_running()]
        assert not alive, f"left behind: {alive}"
        self._forget_process()

    def kill_everything(self) -> None:
        """SIGKILL the supervisor and all its children, as a power cut would."""
        processes = self._all_processes()
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        if self._process is not None:
            self._process.wait(DEADLINE_S)
        poll_for(f"the end of {processes} by SIGKILL", lambda: not any(map(lives, processes)))
        self._forget_process()

    def _all_processes(self) -> list[Any]:
        """The supervisor, stopped so that it starts no further child, and all that was below."""
        if self._process is not None and self._process.poll() is None:
            supervisor = psutil.Process(self._process.pid)
            supervisor.suspend()
            self._seen |= {supervisor, *supervisor.children(recursive=True)}
        return [process for process in self._seen if process.is_running()]

    def _forget_process(self) -> None:
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        self._stopping = False

    def clean_up(self) -> None:
        """End every process, cut every client and remove the directory, whatever happened."""
        try:
            self.kill_everything()
        finally:
            self._last_log = self.log_text()
            self.drop_clients()
            shutil.rmtree(self.directory, ignore_errors=True)

    # The log.

    def log_text(self) -> str:
        if not self._log_path.exists():
            return self._last_log
        return self._log_path.read_text(errors="replace")

    def expect_in_log(self, text: str) -> None:
        """Lines with `text` are part of the test, whatever their level."""
        self._expected_log.append(text)

    def assert_clean_log(self) -> None:
        """No traceback and nothing at level error; every line is one JSON object."""
        for line in self.log_text().splitlines():
            if any(text in line for text in self._expected_log):
                continue
            assert "Traceback" not in line, line
            event = json.loads(line)
            assert event["level"] not in ("error", "critical", "exception"), line


def near(t: object, expected: float, *, within_s: float = 60.0) -> bool:
    """Whether `t` is a time in seconds near `expected`; for times that the server chose."""
    return isinstance(t, int) and math.isclose(t, expected, rel_tol=0, abs_tol=within_s)
