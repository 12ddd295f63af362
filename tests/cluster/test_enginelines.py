"""What an engine writes becomes lines of our log, within bounds and without secrets."""

import pytest

from relay.cluster.enginelines import LINES_PER_S, MAX_LINES, Allowance, Said, said


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ("[7] [INF] Server is ready", "info", "Server is ready"),
        ("[7] [WRN] JetStream waits", "warning", "JetStream waits"),
        ("[7] [WRN] Plaintext passwords detected", "debug", "Plaintext passwords detected"),
        ("[7] [INF]  ___ _ _", "debug", "___ _ _"),
        ("[7] [INF]", "debug", ""),
        ("[7] [ERR] 1.2.3.4:5 - rid:8 - TLS", "error", "1.2.3.4:5 - rid:8 - TLS"),
        ("[7] [FTL] Error listening", "error", "Error listening"),
        ("[7] [DBG] details", "debug", "details"),
        ("panic: out of memory", "error", "panic: out of memory"),
        ("[7] [XYZ] of a later version", "error", "[7] [XYZ] of a later version"),
        ("", "error", ""),
    ],
)
def test_a_line_keeps_its_level(line: str, level: str, text: str) -> None:
    assert said(line, "secret") == Said(level, text)  # type: ignore[arg-type]


def test_a_secret_is_not_told() -> None:
    line = "[7] [ERR] tls://relay:hunter2hunter2@10.0.0.1:9014 refused"

    assert said(line, "hunter2hunter2").text == "tls://relay:***@10.0.0.1:9014 refused"


def test_only_its_own_word_makes_it_ready() -> None:
    assert said("[7] [INF] Server is ready", "x").is_ready
    assert not said("[7] [ERR] 1.2.3.4:5 - Server is ready", "x").is_ready


def test_what_a_stranger_can_have_written_is_told_from_what_it_says_of_itself() -> None:
    stranger = said("[7] [ERR] 1.2.3.4:5 - cid:12 - TLS handshake error: EOF", "x")
    route = said("[7] [ERR] [fd00::1]:5 - rid:12 - TLS route handshake error: EOF", "x")

    assert stranger.is_of_connection
    assert route.is_of_connection
    assert not said("[7] [ERR] JetStream out of resources", "x").is_of_connection


def test_who_knocks_without_end_does_not_fill_the_log() -> None:
    allowance = Allowance(now_s=100.0)

    taken = sum(allowance.takes(now_s=100.0) for _ in range(MAX_LINES + 50))

    assert (taken, allowance.take_dropped(), allowance.take_dropped()) == (MAX_LINES, 50, 0)
    taken = sum(allowance.takes(now_s=102.0) for _ in range(100))
    assert taken == 2 * LINES_PER_S
    assert sum(allowance.takes(now_s=1e6) for _ in range(MAX_LINES + 1)) == MAX_LINES


@pytest.mark.parametrize(
    "text",
    [
        "Error trying to connect to route (attempt 1): dial tcp 10.0.0.2:9014: connect: connection"
        " refused",
        'Error trying to connect to route (attempt 1): lookup for host "b.example": no such host',
        "10.0.0.2:9014 - rid:12 - TLS route handshake error: EOF",
        "10.0.0.2:9014 - rid:12 - TLS route handshake error: read tcp 10.0.0.1:5->10.0.0.2:9014:"
        " read: connection reset by peer",
        "[fd00::2]:9014 - rid:12 - TLS route handshake error: read tcp: i/o timeout",
        "10.0.0.2:9014 - rid:12 - TLS handshake timeout",
        "10.0.0.2:9014 - rid:12 - Error flushing: write tcp 10.0.0.1:5->10.0.0.2:9014: write:"
        " broken pipe",
        "10.0.0.2:9014 - rid:12 - Route Error 'Stale Connection'",
        "Error applying stream entries to 'RELAY > relay-0': catchup aborted, no leader",
    ],
)
def test_that_another_host_went_is_no_error(text: str) -> None:
    assert said(f"[7] [ERR] {text}", "secret") == Said("warning", text)


@pytest.mark.parametrize(
    "text",
    [
        "10.0.0.2:9014 - rid:12 - TLS route handshake error: tls: failed to verify certificate:"
        " x509: certificate signed by unknown authority",
        "10.0.0.2:9014 - rid:12 - Route Error 'Authorization Violation'",
        'Remote server has a duplicate name: "a"',
        "10.0.0.2:9014 - cid:12 - TLS handshake error: EOF",
        "Error applying stream entries to 'RELAY > relay-0': no space left on device",
        "RAFT [x - g] Critical write error: write /d/1.blk: no space left on device",
    ],
)
def test_what_somebody_has_to_mend_stays_an_error(text: str) -> None:
    assert said(f"[7] [ERR] {text}", "secret").level == "error"


@pytest.mark.parametrize(
    "text",
    [
        "RAFT [cnrtt3eg - S-R3F-x] Critical write error: write /d/1.blk: no space left on device",
        "Filestore [relay-0] Critical write error: sync /d/1.blk: input/output error",
        "JetStream stream 'RELAY > relay-0' critical write error: no space left on device",
        "JetStream cluster meta group critical write error: no space left on device",
        "JetStream out of resources, will be DISABLED",
        "JetStream out of File resources, will be DISABLED",
        "File system permission denied while writing, disabling JetStream",
    ],
)
def test_a_server_that_writes_no_more_says_so(text: str) -> None:
    assert said(f"[7] [ERR] {text}", "secret").is_last_write
    assert not said(f"[7] [ERR] 1.2.3.4:5 - cid:7 - {text}", "secret").is_last_write


def test_what_has_room_again_or_was_refused_is_no_last_write() -> None:
    assert not said("[7] [INF] JetStream out of resources, will be DISABLED", "x").is_last_write
    assert not said("[7] [ERR] Error trying to connect to route (attempt 1): x", "x").is_last_write
