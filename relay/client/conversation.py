"""One run of the chat: the client's events and the user's lines, side by side."""

import asyncio
import time
from typing import Final, assert_never

from relay.client import terminal
from relay.client.client import RelayClient
from relay.client.errors import NoLogin
from relay.client.events import Connected, Disconnected, Failed, Message, Sent
from relay.client.ids import new_message_id
from relay.client.pipedlines import PipedLines
from relay.client.screen import printable
from relay.client.transcript import Transcript
from relay.client.typed import COMMANDS, Leave, NoCommand, Say, ShowHelp, meaning_of

# Ticks that follow each other this closely are shown once, at the highest.
_SETTLE_S: Final = 0.3
# How long to wait, before leaving, for the relay to confirm what was sent.
_PIPE_ACK_WAIT_S: Final = 10.0
_TERMINAL_ACK_WAIT_S: Final = 2.0
_MOST_UNCONFIRMED: Final = 1000  # a long file is read as fast as the relay takes it

_HELP: Final = (
    *(f"{command} {what}" for command, what in COMMANDS.items()),
    "//text sends a text that begins with a slash",
    "ticks: … on its way; ✓ sent: the relay has it, whatever crashes now;",
    "✓✓ delivered, read: the other side's client says so",
)


class Conversation:
    """The chat of `client` with the user or group `to`, which may have a `subject` to show."""

    def __init__(
        self, client: RelayClient, to: str, *, wait_s: float, subject: str, recipients: int | None
    ) -> None:
        self._client = client
        self._to = to
        self._subject = subject
        self._wait_s = wait_s
        self._transcript = Transcript(to, clock=terminal.clock, recipients=recipients)
        self._status = "connecting"
        self._logged_in = False  # at least once
        self._unconfirmed: set[str] = set()
        self._refused = 0
        # Each is waited for by one task, which clears it.
        self._unsettled = asyncio.Event()  # the transcript has lines to flush
        self._confirmed = asyncio.Event()  # `_unconfirmed` or `_logged_in` changed

    async def run(self, *, interactive: bool) -> bool:
        """Chat until the user leaves; return whether everything that had to be sent was.

        Raises:
            ClientError: the login failed, or ended for good.
        """
        reading = asyncio.create_task(self._prompt() if interactive else self._send_piped())
        tasks = [asyncio.create_task(self._show_events()), asyncio.create_task(self._settle())]
        try:
            await asyncio.wait([*tasks, reading], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, reading):
                task.cancel()
            await asyncio.wait([*tasks, reading])
        terminal.show(self._transcript.flush())
        for task in tasks:
            if not task.cancelled():
                task.result()
        return reading.result()

    async def _show_events(self) -> None:
        async for event in self._client.events():
            match event:
                case Connected():
                    again = " again" if self._logged_in else ""
                    self._status, self._logged_in = "connected", True
                    terminal.note(f"connected{again} to {self._client.url} as {self._client.user}")
                case Disconnected() if not self._logged_in:
                    hint = "" if event.answered else "; start one with: relay serve"
                    raise NoLogin(event.reason + hint)
                case Disconnected() if self._status == "connected":
                    self._status = "reconnecting"
                    terminal.note(f"disconnected: {event.reason}; reconnecting")
                case Disconnected():
                    pass  # said once; the next line is "connected again"
                case _:
                    terminal.show(self._transcript.add(event))
                    self._unsettled.set()
                    if isinstance(event, Message):
                        self._client.mark_read(event)
                    elif isinstance(event, Sent | Failed):
                        self._unconfirmed.discard(event.id)
                        self._refused += isinstance(event, Failed)
            self._confirmed.set()

    async def _settle(self) -> None:
        while True:
            await self._unsettled.wait()
            await asyncio.sleep(_SETTLE_S)
            self._unsettled.clear()
            terminal.show(self._transcript.flush())

    async def _send(self, text: str) -> None:
        while len(self._unconfirmed) >= _MOST_UNCONFIRMED:
            self._confirmed.clear()
            await self._confirmed.wait()
        message_id = new_message_id()
        self._transcript.own(message_id, text, now_s=int(time.time()))
        self._unsettled.set()
        try:
            self._client.send(self._to, text, id=message_id)
        except ValueError as error:
            self._transcript.fail(message_id, str(error))
            self._refused += 1
        else:
            self._unconfirmed.add(message_id)

    # -- a terminal ------------------------------------------------------------------------------

    async def _prompt(self) -> bool:
        session = terminal.prompt(
            lambda: toolbar(self._client.user, self._status, self._to, self._subject)
        )
        with terminal.above_the_prompt():
            while True:
                try:
                    line = await session.prompt_async()
                except (EOFError, KeyboardInterrupt):
                    break
                if not await self._obey(line):
                    break
        if self._unconfirmed:
            await self._all_confirmed(_TERMINAL_ACK_WAIT_S)
        return True

    async def _obey(self, line: str) -> bool:
        """Do what a typed line asks for; return whether the chat goes on."""
        match typed := meaning_of(line):
            case None:
                pass
            case Say(text):
                await self._send(text)
            case ShowHelp():
                for help_line in _HELP:
                    terminal.note(help_line)
            case NoCommand(word):
                terminal.note(
                    f"nothing sent: no command {word}; /help lists them, /{word} sends it"
                )
            case Leave():
                return False
            case _:
                assert_never(typed)
        return True

    # -- a pipe ----------------------------------------------------------------------------------

    async def _send_piped(self) -> bool:
        lines = PipedLines()
        while (line := await lines.next()) is not None:
            if line.strip():
                await self._send(line)
        if not await self._all_confirmed(_PIPE_ACK_WAIT_S):
            return False
        await asyncio.sleep(self._wait_s)
        return not self._refused

    async def _all_confirmed(self, wait_s: float) -> bool:
        """Wait for the login and the acks; say so if they do not come."""
        try:
            async with asyncio.timeout(wait_s):
                while self._unconfirmed or not self._logged_in:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except TimeoutError:
            count = len(self._unconfirmed)
            terminal.note(f"{count} line{'' if count == 1 else 's'} not confirmed by the relay")
            return False
        return True


def toolbar(user: str, status: str, to: str, subject: str) -> str:
    """Return the line at the bottom of a terminal.

    The status is that of one's own connection, and stands by one's own name: whether the others
    are there the relay tells nobody. A group is called by the `subject` that the user gave, if any.
    """
    return f" you: {user} ({status}) | to: {printable(subject) or to} | /help | Ctrl-D leaves"
