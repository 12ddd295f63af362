"""A small terminal chat: `python -m relay.chat ME --to THEM`, on top of `relay.client`.

With a terminal it has an input line below the conversation; with a pipe it sends each line of its
input, so that a script can chat too.
"""

import argparse
import asyncio
import io
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec
from prompt_toolkit import PromptSession
from prompt_toolkit.patch_stdout import patch_stdout
from websockets.exceptions import InvalidURI

from relay.client.client import Client
from relay.client.events import (
    Accepted,
    Connected,
    Disconnected,
    Event,
    Level,
    Message,
    Receipt,
    Refused,
    SendFailed,
)
from relay.client.wire import chat_name, new_message_id
from relay.errors import ClientError, JidError
from relay.protocol.jid import parse_user

DEFAULT_URL: Final = "ws://127.0.0.1:9011/"
EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

# Ticks that follow each other this closely are shown once, at the highest.
_SETTLE_S: Final = 0.3
# How long to wait, before leaving, for the relay to confirm what was sent.
_PIPE_ACK_WAIT_S: Final = 10.0
_TERMINAL_ACK_WAIT_S: Final = 2.0
_MAX_OWN: Final = 500  # own messages whose ticks are followed
_MAX_LINE_BYTES: Final = 60_000  # of a piped line; a relay takes 65536 with all around the text
_EXCERPT: Final = 30

_HELP: Final = """\
Lines you type go to --to; what others send you appears above, with your own lines' ticks:

  …         on its way       ✓ sent        the relay has it, whatever crashes now
  ✓✓ delivered               ✓✓ read       shown by the other side's client

Try it with two terminals, while `python supervisor.py` runs in a third:

  python -m relay.chat 917069852821 --to 919428284313
  python -m relay.chat 919428284313 --to 917069852821

Stop one of them, write to it, and start it again: the messages have waited. A group is
addressed by its jid, and a script may use a pipe:

  python -m relay.chat 917069852821 --to 917069852821-1566557065@g.us
  echo "backup done" | python -m relay.chat 917069852821 --to 919428284313

Exit codes: 0 you left; 1 could not log in, replaced by another login of the same user, or a
piped line was not accepted by the relay; 2 wrong usage.
"""


def _visible_signs() -> dict[int, str]:
    signs = {code: chr(0x2400 + code) for code in range(0x20)}  # the pictures of control characters
    signs |= dict.fromkeys(range(0x7F, 0xA0), "\N{REPLACEMENT CHARACTER}")
    signs |= dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}")
    # Marks that reorder the rest of the line, or hide in it.
    for first, last in ((0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069), (0xE0000, 0xE007F)):
        signs |= dict.fromkeys(range(first, last + 1), "\N{REPLACEMENT CHARACTER}")
    signs |= dict.fromkeys((0xAD, 0x61C, 0xFEFF), "\N{REPLACEMENT CHARACTER}")
    signs |= dict.fromkeys((0x0A, 0x2028, 0x2029), " \N{RETURN SYMBOL} ")
    signs[0x09] = " "
    return signs


_VISIBLE: Final = _visible_signs()


def printable(text: str) -> str:
    """Return `text` as one line without anything that a terminal would obey.

    What others write is shown, never executed: escape sequences, line ends and marks that reorder
    text could otherwise repaint the screen or forge a line of somebody else.
    """
    return text.replace("\r\n", "\n").translate(_VISIBLE)


class _Own(msgspec.Struct):
    """An own message and how far it got."""

    text: str
    clock: str
    stored: bool = False
    failure: str = ""
    levels: dict[str, Level] = {}
    shown_rank: int = -1  # of the tick on the screen; -1 before the line is there

    @property
    def rank(self) -> int:
        """Order of the ticks: a line is shown again only when it rose."""
        if self.failure:
            return 10
        return max(self.levels.values(), default=int(self.stored))

    def tick(self, *, group: bool) -> str:
        if self.failure:
            return f"✗ not sent: {self.failure}"
        if not self.levels:
            return "✓ sent" if self.stored else "…"
        highest = max(self.levels.values())
        if not group:
            return _tick(highest)
        count = sum(level is highest for level in self.levels.values())
        return f"{_tick(highest)} {'to' if highest is Level.DELIVERED else 'by'} {count}"


class Transcript:
    """The conversation as lines of text: events in, lines out, nothing printed.

    An own message gets its line when `flush` is called, some moments after it was written, with
    the tick it has by then; a later tick gets a short line of its own. An incoming message
    flushes first, so that lines stand in the order in which things happened.
    """

    def __init__(self, to: str, *, clock: Callable[[int], str]) -> None:
        self._to = to
        self._group = to.endswith("@g.us")
        self._clock = clock
        self._own: dict[str, _Own] = {}
        self._changed: dict[str, None] = {}  # ids whose line is to be shown, in order
        self._earlier: dict[Level, int] = {}  # receipts for messages of an earlier run

    def own(self, message_id: str, text: str, *, now_s: int) -> None:
        """Note a message that was just written."""
        if len(self._own) >= _MAX_OWN:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._changed.pop(oldest, None)
        self._own[message_id] = _Own(text, self._clock(now_s))
        self._changed[message_id] = None

    def fail(self, message_id: str, reason: str) -> None:
        """Note that a message was refused."""
        if own := self._own.get(message_id):
            own.failure = reason
            self._changed[message_id] = None

    def add(self, event: Event) -> list[str]:
        """Note an event; return the lines to show at once. Ticks wait for `flush`."""
        match event:
            case Message():
                said = f"{self._where(event)}{event.sender}: {_content(event)}"
                return [*self.flush(), f"{self._clock(event.t)} {said}"]
            case Accepted() if own := self._own.get(event.id):
                own.stored = True
                self._changed[event.id] = None
            case Receipt() if own := self._own.get(event.id):
                own.levels[event.user] = event.level
                self._changed[event.id] = None
            case Receipt():
                self._earlier[event.level] = self._earlier.get(event.level, 0) + 1
            case SendFailed():
                self.fail(event.id, f"{event.reason} ({event.code})")
            case Refused():
                return [f"the relay refused a frame: {event.reason} ({event.code})"]
        return []

    def _where(self, message: Message) -> str:
        """Return a mark for what was not said in the chat at hand."""
        if message.chat == self._to:
            return ""
        if message.is_group:
            return f"[{message.chat}] "
        return "[private] " if self._group else ""  # the sender's name tells it otherwise

    def flush(self) -> list[str]:
        """Return the lines of what changed since the last call."""
        lines = [
            f"      {_tick(level)}: {count} earlier message{'s' if count > 1 else ''}"
            for level, count in sorted(self._earlier.items())
        ]
        self._earlier.clear()
        risen: dict[str, list[str]] = {}  # excerpts of lines shown before, by their new tick
        for own in [self._own[message_id] for message_id in self._changed]:
            if own.rank <= own.shown_rank:
                continue
            tick = own.tick(group=self._group)
            if own.shown_rank < 0:
                lines.append(f"{own.clock} you: {own.text}  {tick}")
            else:
                risen.setdefault(tick, []).append(own.text)
            own.shown_rank = own.rank
        self._changed.clear()
        for tick, texts in risen.items():
            more = f" and {len(texts) - 1} before it" if len(texts) > 1 else ""
            last = texts[-1] if len(texts[-1]) <= _EXCERPT else texts[-1][:_EXCERPT] + "…"
            lines.append(f"      {tick}: {last}{more}")
        return lines


def _tick(level: Level) -> str:
    return f"✓✓ {level.name.lower()}"


def _content(message: Message) -> str:
    return message.text or f"({', '.join(message.body)})"  # not a text: name what it is


class _NoLogin(ClientError):
    """The first attempt to log in failed."""


class _Chat:
    """One run of the command: the client's events and the user's lines, side by side."""

    def __init__(self, client: Client, to: str, *, wait_s: float) -> None:
        self._client = client
        self._to = to
        self._wait_s = wait_s
        self._transcript = Transcript(to, clock=_clock)
        self._status = "connecting"
        self._logged_in = False  # at least once
        self._unconfirmed: set[str] = set()
        self._refused = 0
        # Each is waited for by one task, which clears it.
        self._unsettled = asyncio.Event()  # the transcript has lines to flush
        self._confirmed = asyncio.Event()  # `_unconfirmed` or `_logged_in` changed

    async def run(self, *, terminal: bool) -> int:
        """Chat until the user leaves; return the exit code.

        Raises:
            ClientError: the login failed, or ended for good.
        """
        reading = asyncio.create_task(self._prompt() if terminal else self._send_piped())
        tasks = [asyncio.create_task(self._show_events()), asyncio.create_task(self._settle())]
        try:
            await asyncio.wait([*tasks, reading], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, reading):
                task.cancel()
            await asyncio.wait([*tasks, reading])
        _show(self._transcript.flush())
        for task in tasks:
            if not task.cancelled():
                task.result()
        return reading.result()

    async def _show_events(self) -> None:
        async for event in self._client.events():
            match event:
                case Connected():
                    again = " again" if self._logged_in else ""
                    self._status, self._logged_in = "online", True
                    _note(f"connected{again} to {self._client.url} as {self._client.user}")
                case Disconnected() if not self._logged_in:
                    hint = "; start one with: python supervisor.py" if event.code is None else ""
                    raise _NoLogin(event.reason + hint)
                case Disconnected() if self._status == "online":
                    self._status = "reconnecting"
                    _note(f"disconnected: {event.reason}; reconnecting")
                case Disconnected():
                    pass  # said once; the next line is "connected again"
                case _:
                    _show(self._transcript.add(event))
                    self._unsettled.set()
                    if isinstance(event, Message):
                        await self._client.mark_read(event)
                    elif isinstance(event, Accepted | SendFailed):
                        self._unconfirmed.discard(event.id)
                        self._refused += isinstance(event, SendFailed)
            self._confirmed.set()

    async def _settle(self) -> None:
        while True:
            await self._unsettled.wait()
            await asyncio.sleep(_SETTLE_S)
            self._unsettled.clear()
            _show(self._transcript.flush())

    async def _send(self, text: str) -> None:
        if not text.strip():
            return
        message_id = new_message_id()
        self._transcript.own(message_id, text, now_s=int(time.time()))
        self._unsettled.set()
        try:
            await self._client.submit(self._to, text, message_id=message_id)
        except ValueError as error:
            self._transcript.fail(message_id, str(error))
            self._refused += 1
        else:
            self._unconfirmed.add(message_id)

    # -- a terminal ------------------------------------------------------------------------------

    async def _prompt(self) -> int:
        session: PromptSession[str] = PromptSession(
            "> ",
            erase_when_done=True,  # the transcript shows the line, with its tick
            bottom_toolbar=lambda: (
                f" {self._client.user} → {self._to} | {self._status} | Ctrl-D leaves"
            ),
        )
        with patch_stdout():
            while True:
                try:
                    await self._send(await session.prompt_async())
                except (EOFError, KeyboardInterrupt):
                    break
        if self._unconfirmed:
            await self._all_confirmed(_TERMINAL_ACK_WAIT_S)
        return EXIT_OK

    # -- a pipe ----------------------------------------------------------------------------------

    async def _send_piped(self) -> int:
        lines = _PipedLines()
        while (line := await lines.next()) is not None:
            await self._send(line)
        if not await self._all_confirmed(_PIPE_ACK_WAIT_S):
            return EXIT_FAILED
        await asyncio.sleep(self._wait_s)
        return EXIT_FAILED if self._refused else EXIT_OK

    async def _all_confirmed(self, wait_s: float) -> bool:
        """Wait for the login and the acks; say so if they do not come."""
        try:
            async with asyncio.timeout(wait_s):
                while self._unconfirmed or not self._logged_in:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except TimeoutError:
            count = len(self._unconfirmed)
            _note(f"{count} line{'' if count == 1 else 's'} not confirmed by the relay")
            return False
        return True


class _PipedLines:
    """The lines of standard input, read by a thread: a pipe, a file and a device all work so.

    The thread reads the descriptor itself. Blocked in `sys.stdin`, it would hold a lock that the
    interpreter needs to exit.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(100)
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    async def next(self) -> str | None:
        """Return the next line without its end, or None after the last."""
        line = await self._lines.get()
        self._room.release()
        return line

    def _read(self) -> None:
        rest = b""
        try:
            while sys.stdin is not None and (chunk := os.read(sys.stdin.fileno(), 65536)):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._put(line.removesuffix(b"\r"))
                if len(rest) > _MAX_LINE_BYTES:
                    *pieces, rest = cut(rest)
                    self._put(b"".join(pieces))
            self._put(rest)
            self._hand_over(None)
        except RuntimeError:
            pass  # the loop is closed: the chat ended first

    def _put(self, line: bytes) -> None:
        for piece in cut(line):
            self._hand_over(piece.decode(errors="replace"))

    def _hand_over(self, line: str | None) -> None:
        self._room.acquire()
        self._loop.call_soon_threadsafe(self._lines.put_nowait, line)


def cut(line: bytes, size: int = _MAX_LINE_BYTES) -> list[bytes]:
    """Cut a line into pieces of at most `size` bytes, at least one, never within a character."""
    pieces = []
    while len(line) > size:
        end = size
        while end > size - 3 and line[end] & 0xC0 == 0x80:  # the middle of a UTF-8 sequence
            end -= 1
        pieces.append(line[:end])
        line = line[end:]
    return [*pieces, line]


def _clock(t: int) -> str:
    try:
        return time.strftime("%H:%M", time.localtime(t))
    except (OverflowError, ValueError, OSError):
        return "??:??"  # the time is the sender's, and may be any number


def _show(lines: list[str]) -> None:
    """Write lines of the conversation."""
    for line in lines:
        sys.stdout.write(printable(line) + "\n")
    sys.stdout.flush()


def _note(line: str) -> None:
    """Write a line about the chat itself."""
    sys.stdout.flush()
    sys.stderr.write(f"-- {printable(line)}\n")
    sys.stderr.flush()


def _user(text: str) -> str:
    return _checked(parse_user, text)


def _chat(text: str) -> str:
    return _checked(chat_name, text)


def _checked(parse: Callable[[str], str], text: str) -> str:
    try:
        return parse(text)
    except JidError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3600 or math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 3600 seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m relay.chat",
        description="Chat through a relay, as one user with another or with a group.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("me", metavar="ME", type=_user, help="the user you are: 917069852821")
    parser.add_argument(
        "--to", required=True, type=_chat, metavar="CHAT", help="a user, or a group's jid: …@g.us"
    )
    parser.add_argument("--url", default=DEFAULT_URL, help=f"the relay (default: {DEFAULT_URL})")
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="with a pipe: how long to go on showing what comes, once the last line is "
        "confirmed (default: 1)",
    )
    return parser


async def _run(arguments: argparse.Namespace) -> int:
    terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    task = asyncio.current_task()
    if not terminal and task is not None:
        # With the handler that asyncio.run sets, a Ctrl-C in the moment before the loop begins to
        # wait counts only at the next event. This one wakes the loop. (In a terminal Ctrl-C is a
        # key.)
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, task.cancel)
    async with Client(arguments.url, arguments.me) as client:
        return await _Chat(client, arguments.to, wait_s=arguments.wait).run(terminal=terminal)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without ticks shows question marks
    try:
        return asyncio.run(_run(parsed))
    except InvalidURI as error:
        parser.error(f"argument --url: {error}")
    except ClientError as error:
        _note(str(error))
        return EXIT_FAILED
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_OK
    except BrokenPipeError:
        # Whoever read our output left. Keep the interpreter from flushing into the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
