"""A source of settings: values that it may not have, and all its mistakes at once."""

from pathlib import Path

import pytest

from tests.settings.harness import mistakes, refusal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[server]\nport = 70000",
            "server.port = 70000 is not allowed; it must be an integer from",
        ),
        ("[server]\nport = '9011'", 'server.port = "9011" is not allowed'),
        ("[server]\nport = 9011.0", "server.port = 9011.0 is not allowed"),
        ("[server]\nport = true", "server.port = true is not allowed"),
        ("[server]\nworkers = 2026-01-01", 'server.workers = "2026-01-01" is not allowed'),
        ("[server]\ninsecure_open = 1", "it must be true or false"),
        ("[server]\nhost = ''", "it must be an IP address or host name"),
        ("[server]\nhost = '127.0.0.1\\n'", 'server.host = "127.0.0.1\\\\n" is not allowed'),
        ("[server]\ndata = ''", "it must be a path to a directory"),
        ('[server]\ndata = "a\\u0000"', "it must be a path to a directory"),
        (
            "[auth]\nmode = 'magic'",
            'auth.mode = "magic" is not allowed; it must be "http" or "open" or "proxy" or "token"',
        ),
        ("[auth]\ndeadline_s = nan", "it must be a number from 0.05 to 3600"),
        ("[auth]\ndeadline_s = inf", "it must be a number from 0.05 to 3600"),
        ("[limits]\nframe_bytes = [1, 2]", "limits.frame_bytes = [1, 2] is not allowed"),
        ("[log]\nformat = 'xml'", 'it must be "json" or "text"'),
        ('[log]\nformat = """a\nb"""', 'log.format = "a\\nb" is not allowed'),
        (f"[log]\nformat = '{'x' * 10_000}'", 'x... is not allowed; it must be "json" or "text"'),
        ("log = 'text'", 'log = "text" must be a table: [log]'),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


def test_every_mistake_of_a_file_is_told_in_its_order(tmp_path: Path) -> None:
    text = """
        zzz = 1
        log = 1
        [server]
        prot = 1
        port = 70000
        [sever]
        [limits]
        frame_bytes = 1
        [supervisor]
        hung_after_s = 1
    """

    said = mistakes(tmp_path, text)

    assert [line[: len(begin)] for line, begin in zip(said, BEGINNINGS, strict=True)] == BEGINNINGS


BEGINNINGS = [
    "unknown key zzz;",
    "log = 1 must be a table",
    "unknown key server.prot;",
    "server.port = 70000 is not allowed",
    "unknown table [sever];",
    "limits.frame_bytes = 1 is not allowed",
    "supervisor.hung_after_s = 1.0 must be at least 3 times",
]
