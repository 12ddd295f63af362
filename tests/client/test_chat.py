"""The terminal chat: its lines as pure text, and the command itself in a pipe and a terminal."""

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
from hypothesis import given
from hypothesis import strategies as st

from relay.client import chat
from relay.client.chat import Transcript, printable
from relay.client.events import Accepted, Level, Message, Receipt, Refused, SendFailed
from tests.client.fake_relay import DEADLINE_S, FakeRelay, Session, ack, error, message, queue

ASHA, BEN, CARL = "917069852821", "919428284313", "919354513536"
GROUP = "917069852821-1566557065@g.us"
ROOT = Path(__file__).parents[2]


# -- what reaches the terminal -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("naïve 日本 👩‍👩‍👧 ✓✓", "naïve 日本 👩‍👩‍👧 ✓✓"),
        ("\x1b]0;owned\x07", "␛]0;owned␇"),
        ("\x1b[2J\x1b[31mred", "␛[2J␛[31mred"),
        ("\x9b31mred", "�31mred"),
        ("a\nb\r\nc\rd", "a ⏎ b ⏎ c␍d"),
        ("a\u2028b\u2029c\x85d", "a ⏎ b ⏎ c�d"),
        ("a\tb\x00c\x08d\x7fe", "a b␀c␈d�e"),
        ("abc\u202edef\u2066g\u200fh", "abc�def�g�h"),
        ("\ud800", "�"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_shown_text_is_one_line_without_control_characters(text: str) -> None:
    shown = printable(text)

    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    assert len(shown.splitlines()) <= 1
    shown.encode()


# -- the transcript ------------------------------------------------------------------------------


def transcript(to: str = BEN) -> Transcript:
    return Transcript(to, clock=lambda t: f"t={t}")


def said(text: str, *, sender: str = BEN, chat: str = BEN, t: int = 5) -> Message:
    return Message("M", chat, sender, {"conversation": text}, t)


def receipt(message_id: str, level: int, *, user: str = BEN, chat: str = BEN) -> Receipt:
    return Receipt(message_id, chat, user, Level(level), 9)


def test_an_own_line_shows_the_tick_it_has_when_it_is_shown() -> None:
    t = transcript()
    t.own("A", "one", now_s=1)
    t.own("B", "two", now_s=2)
    t.own("C", "three", now_s=3)
    t.add(Accepted("B", BEN, 2))
    t.add(Accepted("C", BEN, 3))
    t.add(receipt("C", 2))

    assert t.flush() == ["t=1 you: one  …", "t=2 you: two  ✓ sent", "t=3 you: three  ✓✓ delivered"]
    assert t.flush() == []


def test_a_later_tick_gets_a_short_line_and_repeats_get_none() -> None:
    t = transcript()
    t.own("A", "a rather long line, longer than an excerpt", now_s=1)
    t.flush()
    t.add(Accepted("A", BEN, 1))
    assert t.flush() == ["      ✓ sent: a rather long line, longer tha…"]
    t.add(receipt("A", 2))
    t.add(receipt("A", 3))
    assert t.flush() == ["      ✓✓ read: a rather long line, longer tha…"]
    t.add(receipt("A", 3))
    assert t.flush() == []
    t.add(receipt("A", 4))
    assert t.flush() == ["      ✓✓ played: a rather long line, longer tha…"]


def test_ticks_that_rise_together_share_a_line() -> None:
    t = transcript()
    for message_id in "ABC":
        t.own(message_id, f"line {message_id}", now_s=1)
    t.flush()

    for message_id in "ABC":
        t.add(receipt(message_id, 3))

    assert t.flush() == ["      ✓✓ read: line C and 2 before it"]


def test_an_incoming_line_comes_after_what_was_said_before_it() -> None:
    t = transcript()
    t.own("A", "question", now_s=1)

    assert t.add(said("answer")) == ["t=1 you: question  …", f"t=5 {BEN}: answer"]


def test_a_failure_is_told_with_its_reason() -> None:
    t = transcript()
    t.own("A", "one", now_s=1)
    t.add(SendFailed("A", BEN, 404, "unknown user"))
    assert t.flush() == ["t=1 you: one  ✗ not sent: unknown user (404)"]
    t.own("B", "two", now_s=2)
    t.flush()
    t.fail("B", "too long")
    assert t.flush() == ["      ✗ not sent: too long: two"]
    assert t.add(Refused(400, "malformed", "", "")) == [
        "the relay refused a frame: malformed (400)"
    ]


def test_group_ticks_count_the_members() -> None:
    t = transcript(GROUP)
    t.own("A", "all", now_s=1)
    for user in (BEN, CARL):
        t.add(receipt("A", 2, user=user, chat=GROUP))
    assert t.flush() == ["t=1 you: all  ✓✓ delivered to 2"]
    t.add(receipt("A", 3, user=CARL, chat=GROUP))
    assert t.flush() == ["      ✓✓ read by 1: all"]
    t.add(receipt("A", 3, user=BEN, chat=GROUP))
    assert t.flush() == [], "one line for each level, not for each member"


def test_receipts_for_an_earlier_run_are_counted() -> None:
    t = transcript()
    for level in (3, 2, 3):
        t.add(receipt("OLD", level))

    assert t.flush() == [
        "      ✓✓ delivered: 1 earlier message",
        "      ✓✓ read: 2 earlier messages",
    ]
    assert t.flush() == []


def test_lines_of_other_chats_say_so() -> None:
    in_group, with_ben = transcript(GROUP), transcript(BEN)

    assert in_group.add(said("x", chat=GROUP)) == [f"t=5 {BEN}: x"]
    assert in_group.add(said("x")) == [f"t=5 [private] {BEN}: x"]
    assert with_ben.add(said("x", chat=GROUP)) == [f"t=5 [{GROUP}] {BEN}: x"]
    assert with_ben.add(said("x", sender=CARL, chat=CARL)) == [f"t=5 {CARL}: x"]


def test_what_is_no_text_is_named() -> None:
    picture = Message("M", BEN, BEN, {"imageMessage": {"url": "x"}}, 5)

    assert transcript().add(picture) == [f"t=5 {BEN}: (imageMessage)"]


def test_the_transcript_follows_a_bounded_number_of_own_lines() -> None:
    t = transcript()
    for n in range(600):
        t.own(f"{n}", "x", now_s=n)

    assert len(t.flush()) == 500
    t.add(receipt("0", 3))
    assert t.flush() == ["      ✓✓ read: 1 earlier message"]


@pytest.mark.parametrize("t", [10**30, -(10**30), 2**63])
def test_a_time_beyond_the_calendar_is_shown_as_unknown(t: int) -> None:
    assert chat._clock(t) == "??:??"
    assert re.fullmatch(r"\d\d:\d\d", chat._clock(1566970629))


# -- usage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required"),
        ([ASHA], "--to"),
        ([GROUP, "--to", BEN], "no user jid"),
        ([ASHA, "--to", "x@example.org"], "no user jid"),
        ([ASHA, "--to", BEN, "--url", "http://127.0.0.1/"], "scheme isn't ws or wss"),
        ([ASHA, "--to", BEN, "--wait", "soon"], "--wait"),
        ([ASHA, "--to", BEN, "--wait", "-1"], "between 0 and 3600"),
        ([ASHA, "--to", BEN, "--wait", "nan"], "between 0 and 3600"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        chat.main(arguments)

    assert left.value.code == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_help_shows_examples_that_parse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        chat.main(["--help"])

    assert left.value.code == 0
    examples = re.findall(r"python -m relay\.chat (\d.*)", capsys.readouterr().out)
    assert len(examples) >= 4
    for example in examples:
        assert chat._parser().parse_args(example.split())


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


@given(st.text(), st.integers(4, 12))
def test_a_line_is_cut_between_characters(text: str, size: int) -> None:
    pieces = chat.cut(text.encode(), size)

    assert "".join(piece.decode() for piece in pieces) == text
    assert all(len(piece) <= size for piece in pieces)


def test_no_relay_is_one_clear_line_and_exit_1() -> None:
    async def test() -> None:
        async with FakeRelay() as relay:
            url = relay.url
        code, _, notes = await chat_through_pipe(b"hi\n", ASHA, "--to", BEN, "--url", url)
        assert code == 1
        assert notes == (
            f"-- no relay answers at {url} (connection refused);"
            " start one with: python supervisor.py\n"
        )

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

    def __init__(self) -> None:
        self._master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, 100))
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
