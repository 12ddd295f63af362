"""--check-config: every mistake of the settings and the groups, a line each."""

from collections.abc import Sized
from pathlib import Path

import pytest

from relay.errors import SettingsError
from relay.settings.check import check_config
from relay.settings.sources import Sources
from relay.settings.tables import AuthSettings


class Groups:
    """Reads a groups file of two groups, with `problems` if there are some."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        self.read: list[tuple[Path, int]] = []

    def __call__(self, path: Path, *, max_members: int) -> Sized:
        self.read.append((path, max_members))
        if self.problems:
            raise SettingsError(*self.problems)
        return ["one", "two"]


def no_keys(settings: AuthSettings) -> None:
    """Mode "open" reads none."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def test_without_a_mistake_one_line_says_what_was_read(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[server]\ngroups = "/g.json"\n[limits]\ngroup_members = 5\n')
    groups = Groups()

    code = check_config(Sources(config, {"server.port": "1"}), groups, no_keys)

    assert code == 0
    assert capsys.readouterr() == (
        f"ok settings of {config}, 1 option of the command line, 2 groups of /g.json\n",
        "",
    )
    assert groups.read == [(Path("/g.json"), 5)]


def test_without_files_the_defaults_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    groups = Groups()

    assert check_config(Sources(None, {}), groups, no_keys) == 0
    assert capsys.readouterr().out == "ok the default settings\n"
    assert groups.read == []


def test_all_mistakes_of_file_options_and_groups_are_a_line_each(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[server]\ngroups = "/g.json"\nprot = 1\n[flow]\nlink_bytes = 65536\n')
    options = {"log.level": "loud", "server.host": "0.0.0.0"}

    code = check_config(Sources(config, options), Groups("/g.json: one", "/g.json: two"), no_keys)

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    expected = [
        f"supervisor.py: {config}: unknown key server.prot; did you mean server.port",
        f"supervisor.py: {config}: flow.link_bytes = 65536 must be at least limits.frame_bytes",
        f"supervisor.py: {config}: flow.link_bytes = 65536 must be at least flow.page_bytes",
        'supervisor.py: --log-level = "loud" is not allowed; it must be ',
        'supervisor.py: server.host = "0.0.0.0" is not a loopback address',
        "supervisor.py: /g.json: one",
        "supervisor.py: /g.json: two",
    ]
    for line, begin in zip(err.splitlines(), expected, strict=True):
        assert line.startswith(begin)


def test_of_one_mistake_no_second_is_made(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a wrong value was meant to be is not known: what hangs on it is not judged."""
    config.write_text(
        '[server]\nhost = "0.0.0.0"\ninsecure_open = "yes"\ngroups = "/g.json"\n'
        "[limits]\ngroup_members = 0\n[mailbox]\nttl_days = -1\n[dedupe]\nretention_days = 8\n"
    )
    groups = Groups()

    assert check_config(Sources(config, {}), groups, no_keys, program="relay serve") == 2

    keys = [line.split(" = ")[0] for line in capsys.readouterr().err.splitlines()]
    begin = f"relay serve: {config}: "
    assert keys == [
        begin + key for key in ("server.insecure_open", "limits.group_members", "mailbox.ttl_days")
    ]
    [(_, max_members)] = groups.read
    assert max_members > 10**9


def test_a_file_that_cannot_be_read_does_not_make_good_options_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"server.host": "0.0.0.0", "server.port": "x"}

    assert check_config(Sources(tmp_path / "gone.toml", options), Groups(), no_keys) == 2

    first, second = capsys.readouterr().err.splitlines()
    assert "gone.toml: cannot read it: No such file" in first
    assert '--port = "x" is not allowed' in second


def test_keys_that_are_unusable_are_a_mistake_like_any_other(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[auth]\nmode = "token"\ntoken_secret_file = "/secret"\n')

    def refuse(settings: AuthSettings) -> None:
        raise SettingsError(f"auth.token_secret_file: {settings.token_secret_file} is empty")

    assert check_config(Sources(config, {}), Groups(), refuse) == 2
    assert capsys.readouterr().err == "supervisor.py: auth.token_secret_file: /secret is empty\n"
