"""The chat as a process, in a pipe and in a terminal."""

import asyncio
import errno
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client.fake_relay import DEADLINE_S, FakeRelay, Session, ack, error, message, queue

ASHA, BEN, CARL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065@g.us"
ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.slow


# -- the command in a pipe -----------------------------------------------------------------------


def run(test: Awaitable[None]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(test, 2 * DEADLINE_S)

    asyncio.run(bounded())


@asynccontextmanager
async def command(*arguments: str, **streams: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the chat; it is killed if the test is done with it first."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | streams
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay.chat", *arguments),
        cwd=ROOT,
        env={**os.environ, "PYTHONUTF8": "1", "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"},
        **pipes,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def chat_through_pipe(text: bytes, *arguments: str) -> tuple[int | None, list[str], str]:
    """Return exit code, conversation without the times, and the rest."""
    async with command(*arguments) as process:
        out, err = await process.communicate(text)
    lines = [re.sub(r"^\d\d:\d\d ", "", line) for line in out.decode().splitlines()]
    return process.returncode, lines, err.decode()


def test_piped_lines_are_sent_and_the_command_leaves_when_they_are_confirmed() -> None:
    async def script(session: Session) -> None:
        await session.log_in(queue(message("OLD", "waited \x1b[31m")))
        texts: list[str] = []
        while len(texts) < 2:
            match await session.receive():
                case ["action", _, [{"key": {"id": message_id}, "message": body}]]:
                    texts.append(body["conversation"])
                    await session.send(ack(message_id), ack(message_id, 3))
                case ["Msg", body]:
                    assert (body["id"], body["ack"]) == ("OLD", 3)
        assert texts == ["hello", "wörld"]

    async def test() -> None:
        async with FakeRelay(script) as relay:
            text = "hello\r\n\n  \nwörld".encode()
            code, lines, notes = await chat_through_pipe(
                text, ASHA, "--to", BEN, "--url", relay.url, "--wait", "0"
            )
            assert f"connected to {relay.url} as {ASHA}" in notes
            assert code == 0
            assert f"{BEN}: waited ␛[31m" in lines
            assert [line[:10] for line in lines if line.startswith("you: ")] == [
                "you: hello",
                "you: wörld",
            ]

    run(test())


def test_input_may_be_a_file_or_nothing(tmp_path: Path) -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "from a file"
        await session.send(ack(message_id, to=GROUP))

    async def nothing(session: Session) -> None:
        await session.log_in()

    async def test() -> None:
        (tmp_path / "lines").write_text("from a file\n")
        async with FakeRelay(script, nothing) as relay:
            for source in (tmp_path / "lines", Path(os.devnull)):
                with source.open() as file:
                    arguments = (ASHA, "--to", GROUP, "--url", relay.url, "--wait", "0")
                    async with command(*arguments, stdin=file) as process:
                        await process.communicate()
                        assert process.returncode == 0

    run(test())


def test_a_refused_line_is_told_and_makes_exit_1() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, _ = await session.receive_send()
        await session.send(error(404, "unknown group", tag="action", id=message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay:
            code, lines, _ = await chat_through_pipe(
                b"hi\n", ASHA, "--to", GROUP, "--url", relay.url, "--wait", "0"
            )
            assert code == 1
            assert lines[0].startswith("you: hi  ")
            assert "✗ not sent: unknown group (404)" in lines[-1]

    run(test())


def test_lines_too_long_for_one_message_are_sent_in_pieces() -> None:
    text = "é" * 100_000 + "\n" + "x" * 100_000
    sent: list[str] = []

    async def script(session: Session) -> None:
        await session.log_in()
        while sum(map(len, sent)) < 200_000:
            message_id, piece = await session.receive_send()
            sent.append(piece)
            await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay:
            code, _, _ = await chat_through_pipe(
                text.encode(), ASHA, "--to", BEN, "--url", relay.url, "--wait", "0"
            )
            assert code == 0

    run(test())
    assert "".join(sent) == text.replace("\n", "")
    assert max(len(piece.encode()) for piece in sent) <= 60_000


def test_no_relay_is_one_clear_line_and_exit_1() -> None:
    async def test() -> None:
        async with FakeRelay() as relay:
            url = relay.url
        code, _, notes = await chat_through_pipe(b"hi\n", ASHA, "--to", BEN, "--url", url)
        assert code == 1
        assert notes == (
            f"-- no relay answers at {url} (connection refused); start one with: relay serve\n"
        )

    run(test())


def test_a_relay_that_turns_the_chat_away_is_not_said_to_be_missing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 No\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async def test() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            code, _, notes = await chat_through_pipe(b"hi\n", ASHA, "--to", BEN, "--url", url)
        assert code == 1
        why = f"the relay at {url} turns this client away (HTTP 503); try again in 5 s"
        assert notes == f"-- {why}\n"

    run(test())


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (4409, "-- replaced: the same user logged in elsewhere"),
        (4401, "-- login refused: bad token (4401)"),
    ],
)
def test_a_session_that_is_over_ends_the_command_though_its_input_is_open(
    code: int, line: str
) -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        await session.close(code, "bad token")

    async def test() -> None:
        async with (
            FakeRelay(script) as relay,
            command(ASHA, "--to", BEN, "--url", relay.url) as process,
        ):
            assert await process.wait() == 1
            assert process.stderr is not None
            assert (await process.stderr.read()).decode().splitlines()[1:] == [line]

    run(test())


def test_a_lost_connection_is_told_in_one_line_and_repaired() -> None:
    async def first(session: Session) -> None:
        await session.log_in()
        await session.receive_send()
        await session.drop()

    async def second(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "hi"
        await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(first, second) as relay:
            code, _, notes = await chat_through_pipe(
                b"hi\n", ASHA, "--to", BEN, "--url", relay.url, "--wait", "0"
            )
            assert code == 0
            assert notes.splitlines()[1:] == [
                "-- disconnected: connection lost; reconnecting",
                f"-- connected again to {relay.url} as {ASHA}",
            ]

    run(test())


@pytest.mark.parametrize("how", ["interrupt", "reader leaves"])
def test_leaving_early_is_quiet(how: str) -> None:
    shown = asyncio.Event()

    async def script(session: Session) -> None:
        await session.log_in(queue(message("A")))
        await shown.wait()
        await session.send(message("B"))

    async def test() -> None:
        async with (
            FakeRelay(script) as relay,
            command(ASHA, "--to", BEN, "--url", relay.url) as process,
        ):
            assert process.stdout is not None
            assert process.stderr is not None
            assert (await process.stdout.readline()).endswith(b": hi\n")
            if how == "interrupt":
                process.send_signal(signal.SIGINT)
                await process.wait()
            else:
                process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
            shown.set()
            assert await process.wait() == 0
            assert len((await process.stderr.read()).splitlines()) == 1

    run(test())


# -- the command in a terminal -------------------------------------------------------------------


class Terminal:
    """The keyboard and screen of a command that runs in a pseudo-terminal."""

    def __init__(self, columns: int = 100) -> None:
        self._master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, columns))
        os.set_blocking(self._master, False)
        self.screen = ""
        self._changed = asyncio.Event()

    def __enter__(self) -> "Terminal":
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.slave)

    def _read(self) -> None:
        try:
            self.screen += os.read(self._master, 65536).decode(errors="replace")
        except OSError as error:
            if error.errno != errno.EIO:  # the command has gone
                raise
        self._changed.set()

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until `text` was on the screen, and the input line again after it.

        While lines are written above the input line the terminal is not in raw mode, and would
        take Ctrl-D for itself.
        """
        shown = re.compile(re.escape(text) + ".*>", re.DOTALL)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not shown.search(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.screen)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} never came:\n{self.screen!r}") from None


def test_a_terminal_shows_both_sides_and_the_ticks_and_ctrl_d_leaves() -> None:
    terminal_shows_it = asyncio.Event()

    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "hello"
        await session.send(ack(message_id))
        await terminal_shows_it.wait()
        await session.send(ack(message_id, 3), message("A", "hi \x1b[31m\x07there"))
        _, body = await session.receive()
        assert (body["id"], body["ack"]) == ("A", 3)

    async def test() -> None:
        async with FakeRelay(script) as relay:
            with Terminal() as terminal:
                streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
                arguments = (ASHA, "--to", BEN, "--url", relay.url)
                async with command(*arguments, **streams) as process:
                    await terminal.shows("connected to")
                    terminal.type("hello\r")
                    await terminal.shows("you: hello")
                    await terminal.shows("✓ sent")
                    terminal_shows_it.set()
                    await terminal.shows("✓✓ read: hello")
                    await terminal.shows(f"{BEN}: hi ␛[31m␇there")
                    terminal.type("\x04")
                    assert await process.wait() == 0

    run(test())


def test_commands_of_a_terminal_are_obeyed_and_sent_to_nobody() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        message_id, text = await session.receive_send()
        assert text == "/help is a command", "nothing came before it"
        await session.send(ack(message_id, to=GROUP))

    async def test() -> None:
        async with FakeRelay(script) as relay:
            with Terminal() as terminal:
                streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
                arguments = (ASHA, "--to", GROUP, "--url", relay.url, "--subject", "Hike")
                async with command(*arguments, **streams) as process:
                    await terminal.shows("connected to")
                    terminal.type("/help\r")
                    await terminal.shows("client says so")
                    terminal.type("/hlep\r")
                    await terminal.shows("no command /hlep; /help lists them, //hlep sends it")
                    terminal.type("//help is a command\r")
                    await terminal.shows("you: /help is a command  ✓ sent")
                    terminal.type("/quit\r")
                    assert await process.wait() == 0

    run(test())


def test_a_received_text_cannot_pass_for_a_line_of_ones_own() -> None:
    forged = "10:48 you: yes ✓✓ read"

    async def script(session: Session) -> None:
        padding = " " * (80 - len(f"10:48 {BEN}: ok"))
        await session.log_in(queue(message("A", f"ok{padding}{forged}")))
        _, body = await session.receive()
        assert (body["id"], body["ack"]) == ("A", 3)

    async def test() -> None:
        async with FakeRelay(script) as relay:
            with Terminal(columns=80) as terminal:
                streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
                async with command(ASHA, "--to", BEN, "--url", relay.url, **streams) as process:
                    await terminal.shows(f"\n      |  {forged}")
                    terminal.type("\x04")
                    assert await process.wait() == 0

    run(test())


def test_slashes_in_a_pipe_are_text() -> None:
    async def script(session: Session) -> None:
        await session.log_in()
        for text in ("/quit", "//", "/etc/passwd is here"):
            message_id, sent = await session.receive_send()
            assert sent == text
            await session.send(ack(message_id))

    async def test() -> None:
        async with FakeRelay(script) as relay:
            code, _, _ = await chat_through_pipe(
                b"/quit\n//\n/etc/passwd is here\n",
                *(ASHA, "--to", BEN, "--url", relay.url, "--wait", "0"),
            )
            assert code == 0

    run(test())
