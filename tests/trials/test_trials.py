"""Each trial at a small size: limits that are reached, memory, open sockets, and nothing lost.

Of latency nothing is asserted here: figures belong to a run of `python -m tests.trials` on a
machine that does nothing else.
"""

from __future__ import annotations

import io
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import uvloop
from rich.console import Console

from relay.loadgen.report.histogram import Summary
from tests.outside.frames import Frame, parsed
from tests.outside.processes import REPOSITORY
from tests.outside.waiting import poll_for

from .__main__ import TRIALS, parse
from .acks import Acks, ack
from .attack import Attack, claim_memory
from .before_login import BeforeLogin
from .evict import Evict
from .flood import Flood
from .full_mailbox import FullMailbox
from .group import Group
from .headers import Headers
from .heavy_login import HeavyLogin
from .memory import MIB, Use
from .numbers import Numbers, lists_in_ack, lists_in_sheet_notation, numbers
from .pairs import Phase, Told
from .quota import Quota
from .raw import kind_of
from .recovery import Recovery
from .refusals import Refusals
from .report import Bound, Findings
from .slow_reader import SlowReader
from .stage import Stage, Trial, run
from .stopped_worker import StoppedWorker
from .strangers import Strangers
from .strays import Strays
from .tls_half_open import TlsHalfOpen

DEADLINE_S = 60.0
FRAME_BYTES = 256 * 1024
MESSAGE_BYTES = 64 * 1024
# What every trial is given: a short calm, few others, and no claim of their latency.
SMALL: dict[str, Any] = {
    "calm_s": 0.3,
    "pairs": 2,
    "every_ms": 20.0,
    "memory_mib": 24.0,
    "latency_ratio": math.inf,
    "limit_s": DEADLINE_S,
}

pytestmark = [pytest.mark.ordeal, pytest.mark.timeout(2 * DEADLINE_S)]


def findings_of(trial: Trial) -> Findings:
    """Run `trial`; every claim must hold."""
    findings = uvloop.run(run(trial, Console(file=io.StringIO())))
    assert findings.failed == []
    return findings


def test_a_recipient_that_does_not_read_costs_its_senders_507_and_itself_its_connection() -> None:
    trial = SlowReader(
        **SMALL, messages=2000, rate=2000, message_bytes=2000, max_entries=400, write_blocked_s=0.3
    )

    findings = findings_of(trial)

    # What the socket took before it took no more makes no room: nobody has read it.
    assert findings.answers == {"ack 1": 400, "507": 1600}
    assert findings.counters["entries_evicted"] == 0
    assert findings.counters["slow_readers_closed"] == 1
    # Where the machine is slow the connection may have been cut before its close frame was read.
    assert findings.closes in ({"1013": 1}, {"1006": 1})


def test_headers_without_end_and_those_that_stop_are_sent_away_and_cost_little() -> None:
    findings = findings_of(Strangers(**SMALL, seconds=1.0, rate=200, silent=50, handshake_s=1.0))

    assert findings.counters["handshakes_overdue"] == 50


def test_a_flood_is_answered_and_delivered_whole_while_others_are_served() -> None:
    findings = findings_of(Flood(**SMALL, seconds=0.5, targets=20, online=5, message_bytes=2000))

    assert findings.answers == {"ack 1": findings.sent}
    assert findings.sent > 200
    assert not findings.closes


def test_a_flood_over_the_rate_limit_is_answered_with_429() -> None:
    trial = Flood(**SMALL, seconds=0.5, targets=20, online=5, message_bytes=2000, frames_per_s=50.0)

    findings = findings_of(trial)

    assert findings.answers.keys() == {"ack 1", "429"}
    # The default burst, and what the seconds of the flood and of its answering allow.
    assert 100 <= findings.answers["ack 1"] < 100 + 50 * DEADLINE_S
    assert not findings.closes


def test_members_of_a_group_who_do_not_read_lose_nothing_and_keep_nobody_waiting() -> None:
    # Over 64 of them at one front: a large group, whose messages are spread.
    trial = Group(**SMALL, members=100, slow=8, messages=40, rate=40, message_bytes=16_000)

    findings = findings_of(trial)

    assert findings.answers == {"ack 1": 40}
    assert not findings.closes


def test_a_stopped_worker_delays_its_own_users_and_nobody_else() -> None:
    trial = StoppedWorker(**SMALL, stop_s=1.0, senders=10, rate=200, message_bytes=2000)

    findings = findings_of(trial)

    assert findings.answers == {"ack 1": findings.sent}
    assert not findings.closes


def test_full_mailboxes_evict_what_was_read_and_refuse_where_nothing_was() -> None:
    findings = findings_of(FullMailbox(**SMALL, max_entries=200, max_mib=1))

    large = 2**20 // 60_000
    assert findings.answers == {"ack 1": 3 * 200 + large, "507": 200 + large}
    assert findings.counters["entries_evicted"] == 200


def test_killed_workers_come_back_to_open_sockets_and_full_mailboxes() -> None:
    small = {**SMALL, "pairs": 0}
    trial = Recovery(
        **small, sessions=200, queued=1000, kills=2, pause_s=0.2, probes=4, median_s=20, worst_s=20
    )

    findings = findings_of(trial)

    assert findings.answers == {"ack 1": findings.sent}
    assert not findings.closes


# --- attacks: what a trial of each sees, at a size that harms nobody ---------------------------

HARMLESS: dict[str, Any] = {**SMALL, "p99_ratio": math.inf}


def test_dear_frames_are_as_large_as_a_client_may_send() -> None:
    for frame in (numbers(), lists_in_ack(), lists_in_sheet_notation()):
        assert FRAME_BYTES - MESSAGE_BYTES // 4 < len(frame) <= FRAME_BYTES
    message = numbers().partition(b'{"key"')[2].partition(b'{"key"')[0]
    assert MESSAGE_BYTES - 2048 < len(message) <= MESSAGE_BYTES


def test_dear_frames_of_some_clients_are_all_looked_at() -> None:
    findings = findings_of(Numbers(**HARMLESS, clients=2, seconds=0.1, every_s=0.1))

    assert findings.sent == 3 * 2
    assert findings.told is not None
    assert findings.told.phases.keys() >= {
        "lists in an ack",
        "lists in sheet notation",
        "numbers",
    }


def test_before_login_a_frame_and_half_of_one_are_sent_and_the_memory_is_measured() -> None:
    trial = BeforeLogin(**HARMLESS, clients=1, seconds=0.3, halves=20, kib=1024)

    findings = findings_of(trial)

    assert findings.sent > 0
    assert "20 connections" in findings.figures["half-sent frames"]


def test_half_open_handshakes_let_others_log_in_and_cost_little() -> None:
    findings = findings_of(
        TlsHalfOpen(**HARMLESS, connections=50, logins=5, login_ratio=math.inf, kib=2048)
    )

    assert findings.figures["half-open handshakes"].startswith("50 connections sent 0 frames")


def test_unfinished_headers_are_sent_on_each_connection() -> None:
    findings = findings_of(Headers(**HARMLESS, connections=10, headers=20, kib=2048))

    assert findings.figures["unfinished headers"].startswith("10 connections sent 0 frames, 1.5")


def test_acks_of_unknown_ids_are_sent_as_fast_as_they_are_taken() -> None:
    options = {**HARMLESS, "memory_mib": 256.0}

    findings = findings_of(Acks(**options, seconds=0.02, kinds="single"))

    assert findings.sent >= 50
    assert not findings.answers


def test_an_ack_has_as_many_ids_as_it_is_given() -> None:
    frame = parsed(ack(["U1", "U2"], "97", "98"))

    assert frame[0] == "Msg"
    assert frame[1]["id"] == ["U1", "U2"]
    assert frame[1]["from"] == "98@c.us"


def test_a_stranger_who_fits_into_the_mailbox_takes_nothing_from_a_friend() -> None:
    findings = findings_of(Evict(**HARMLESS, messages=300, friendly=5, max_entries=2000))

    assert findings.answers == {"ack 1": 300}


def test_a_stranger_who_fills_the_mailbox_takes_nothing_from_a_friend() -> None:
    findings = findings_of(Evict(**HARMLESS, messages=1000, friendly=5, max_entries=400))

    assert 0 < findings.answers["507"] < 1000


def test_refused_elements_are_counted_by_their_errors() -> None:
    findings = findings_of(Refusals(**HARMLESS, clients=1, elements=4, seconds=0.2))

    assert findings.answers["400"] > 0


def test_logins_on_a_heavy_mailbox_leave_its_receipts_where_they_are() -> None:
    trial = HeavyLogin(**HARMLESS, members=5, messages=20, clients=2, seconds=0.3)

    findings = findings_of(trial)

    [lost] = [claim for claim in findings.claims if claim.what == "no receipt is lost"]
    assert lost.detail.startswith("100 of 100")


def test_what_a_victim_gets_of_stray_acks_is_weighed_against_what_was_sent() -> None:
    findings = findings_of(Strays(**HARMLESS, mib=0.03, seconds=0.2, amplification=1000))

    assert findings.sent == 5
    assert "for 0.0 MiB sent" in findings.figures["victim"]


def test_what_one_author_fills_is_measured() -> None:
    trial = Quota(**HARMLESS, seconds=0.2, disk_mib=0)

    findings = uvloop.run(run(trial, Console(file=io.StringIO())))

    assert findings.sent > 0
    assert "one author does not fill the disk" in {claim.what for claim in findings.failed}


class Hang(Attack):
    """A front that hangs and is renewed, as an attack may have it."""

    name = "hang"

    @property
    def config(self) -> str:
        return "[supervisor]\nheartbeat_s = 0.2\nhung_after_s = 2.0\n"

    async def play(self, stage: Stage) -> None:
        await stage.calm()
        async with self.attack(stage, "hang"):
            stage.relay.children("front")[0].process.suspend()
            await stage.until(lambda: stage.is_harmed, "the end of the front")
        await stage.finish()


def test_a_front_that_is_killed_as_hung_and_those_it_cut_off_are_no_good_result() -> None:
    options = {**HARMLESS, "latency_ratio": 3.0, "p99_ratio": 5.0}

    findings = uvloop.run(run(Hang(**options), Console(file=io.StringIO())))

    assert [claim.what for claim in findings.failed] == [
        "no process hangs, dies or reports a fault",
        "the others are served",
        "the others' p50 grows at most 3 times",
        "the others' p99 grows at most 5 times, or to 25 ms",
    ]
    assert findings.failed[0].detail.startswith("hung front 0, died front 0, ")
    # Whom it cut off still counts: each message of theirs was waited for to the end.
    assert findings.told is not None
    loaded = findings.told.phases["hang"]
    assert loaded.ack.count > 80
    assert loaded.ack.max > 2000


# --- verdicts --------------------------------------------------------------------------------


def told(**phases: Phase) -> Told:
    return Told(phases, sent=0, answers={}, closes={}, lost=0, unanswered=0)


def waited(p50: float, p99: float, count: int = 100) -> Phase:
    summary = Summary(count=count, p50=p50, p99=p99)
    return Phase(summary, summary)


@pytest.mark.parametrize(
    ("loaded", "holds"),
    [
        (waited(6, 24), (True, True)),
        (waited(6.1, 25.1), (False, False)),
        (waited(1, 25), (True, True)),
        (waited(0, 0, count=0), (False, False)),
    ],
)
def test_a_wait_is_judged_by_its_ratio_and_by_what_nobody_sees(
    loaded: Phase, holds: tuple[bool, bool]
) -> None:
    findings = Findings(told=told(calm=waited(2, 4), loaded=loaded))

    for bound in (Bound("p50", 3), Bound("p99", 5, 25)):
        findings.claim_waits(bound)

    assert tuple(claim.holds for claim in findings.claims) == holds


def test_each_load_is_judged_by_itself() -> None:
    findings = Findings(
        told=told(calm=waited(1, 1), rest=waited(99, 99), a=waited(2, 2), b=waited(9, 9))
    )

    findings.claim_waits(Bound("p50", 3))

    assert [(claim.what, claim.holds) for claim in findings.claims] == [
        ("the others' p50 grows at most 3 times (a)", True),
        ("the others' p50 grows at most 3 times (b)", False),
    ]


@pytest.mark.parametrize(
    ("peak_mib", "after_mib", "holds"),
    [(21, 20.1, [True, True]), (40, 20.1, [False, True]), (40, 30, [False, False])],
)
def test_memory_is_judged_by_connection_and_by_what_is_left_of_it(
    peak_mib: float, after_mib: float, holds: list[bool]
) -> None:
    peak, after = int(peak_mib * MIB), int(after_mib * MIB)
    front = Use(before=20 * MIB, first_peak=peak, peak=peak, after=after)
    findings = Findings(memory={"front 0": front, "worker 0": Use(0, 0, 100 * MIB, 100 * MIB)})

    claim_memory(findings, connections=1000, kib=8)

    assert [claim.holds for claim in findings.claims] == holds


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (["Msg", {"id": "1", "ack": 1}], "ack 1"),
        (["MsgInfo", {"id": "1", "ack": 2}], "receipt"),
        (["error", {"code": 429}], "429"),
        (["auth", {"status": "failure", "code": 401}], "login 401"),
        (["auth", {"status": "success"}], "auth"),
        ([], "?"),
    ],
)
def test_an_answer_is_counted_by_its_kind(frame: Frame, kind: str) -> None:
    assert kind_of(frame) == kind


# --- the command line ------------------------------------------------------------------------


def trials(*options: str, own_session: bool = True) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.trials", *options],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        start_new_session=own_session,
    )


def test_a_claim_that_does_not_hold_is_told_and_exits_with_1() -> None:
    options = "full-mailbox --max-entries 20 --max-mib 1 --calm-s 0.2 --latency-ratio 0"
    with trials(*options.split()) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 1, output
    failed = [line.split(":")[0] for line in output.splitlines() if line.startswith("FAILS")]
    assert failed == [f"FAILS  the others' {name} grows at most 0 times" for name in ("p50", "p99")]
    assert "507 37  ack 1 77" in output


@pytest.mark.parametrize("own_session", [True, False])
def test_an_interrupted_trial_leaves_no_process_behind(own_session: bool) -> None:
    """Nor where it was started in a terminal's session, and so starts another of its own."""
    with trials("flood", "--seconds", "50", own_session=own_session) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("flood: calm"):
                break
        children = psutil.Process(process.pid).children(recursive=True)

        process.send_signal(signal.SIGINT)

        output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1, output
    assert "interrupted" in output
    assert len(children) >= 5, "supervisor, front, two workers, pairs"
    poll_for("the end of every process", lambda: not any(map(is_alive, children)))


def is_alive(process: Any) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class WhichVersion(Trial):
    """Asks the relay for its version."""

    name = "which-version"

    async def play(self, stage: Stage) -> None:
        client = stage.relay.connect()
        client.send(["query", {"type": "server"}, None])
        stage.findings.figures["version"] = client.recv()[1]["version"]


def test_a_trial_can_be_made_of_another_checkout(tmp_path: Path) -> None:
    """Whose own modules run, whatever this one's are."""
    for name in ("relay", "workers", "config"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, symlinks=True)
    shutil.copy(REPOSITORY / "supervisor.py", tmp_path)
    version = tmp_path / "relay" / "__init__.py"
    version.write_text(f'{version.read_text()}\n__version__ = "0.0-of-another-day"\n')

    trial = WhichVersion(tree=str(tmp_path), pairs=0)

    assert findings_of(trial).figures == {"version": "0.0-of-another-day"}


def test_make_runs_every_trial() -> None:
    [listed] = re.findall(
        r"^TRIALS := ((?:.*\\\n)*.*)$", (REPOSITORY / "Makefile").read_text(), re.M
    )

    assert listed.replace("\\\n", "").split() == [kind.name for kind in TRIALS]


@pytest.mark.parametrize("options", ["", "nothing", "flood --seconds -1", "flood --targets x"])
def test_bad_usage_exits_with_2(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(options.split())

    assert exit_info.value.code == 2
    assert "usage" in capsys.readouterr().err
