"""Each trial at a small size: limits that are reached, memory, open sockets, and nothing lost.

Of latency nothing is asserted here: figures belong to a run of `python -m tests.trials` on a
machine that does nothing else.
"""

from __future__ import annotations

import io
import math
import os
import signal
import subprocess
import sys
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import uvloop
from rich.console import Console

from tests.outside.processes import REPOSITORY
from tests.outside.waiting import poll_for

from .__main__ import parse
from .flood import Flood
from .full_mailbox import FullMailbox
from .group import Group
from .recovery import Recovery
from .report import Findings
from .slow_reader import SlowReader
from .stage import Trial, run
from .stopped_worker import StoppedWorker
from .strangers import Strangers

DEADLINE_S = 60.0
# What every trial is given: a short calm, few others, and no claim of their latency.
SMALL: dict[str, Any] = {
    "calm_s": 0.3,
    "pairs": 2,
    "every_ms": 20.0,
    "memory_mib": 24.0,
    "latency_ratio": math.inf,
    "limit_s": DEADLINE_S,
}

pytestmark = pytest.mark.timeout(2 * DEADLINE_S)


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


@pytest.mark.parametrize("options", ["", "nothing", "flood --seconds -1", "flood --targets x"])
def test_bad_usage_exits_with_2(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        parse(options.split())

    assert exit_info.value.code == 2
    assert "usage" in capsys.readouterr().err
