"""--check-config: every mistake of the settings and the groups, a line each."""

from collections.abc import Sized
from pathlib import Path

import pytest

from relay.auth.modes import authenticator_of
from relay.errors import SettingsError
from relay.settings.check import check_config
from relay.settings.sources import Sources
from relay.settings.tables import Settings


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


def no_keys(settings: Settings) -> None:
    """Mode "open" reads none."""


def no_certificates(settings: Settings) -> tuple[str, ...]:
    """A port without TLS has none."""
    return ()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "relay.toml"


def test_without_a_mistake_one_line_says_what_was_read(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[server]\ngroups = "/g.json"\n[limits]\ngroup_members = 5\n')
    groups = Groups()

    code = check_config(Sources(config, {"server.port": "1"}), groups, no_keys, no_certificates)

    assert code == 0
    assert capsys.readouterr() == (
        f"ok settings of {config}, 1 option of the command line, 2 groups of /g.json\n",
        "",
    )
    assert groups.read == [(Path("/g.json"), 5)]


def test_without_files_the_defaults_are_good(capsys: pytest.CaptureFixture[str]) -> None:
    groups = Groups()

    assert check_config(Sources(None, {}), groups, no_keys, no_certificates) == 0
    assert capsys.readouterr().out == "ok the default settings\n"
    assert groups.read == []


def test_all_mistakes_of_file_options_and_groups_are_a_line_each(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[server]\ngroups = "/g.json"\nprot = 1\n[flow]\nlink_bytes = 65536\n')
    options = {"log.level": "loud", "server.host": "0.0.0.0"}

    code = check_config(
        Sources(config, options), Groups("/g.json: one", "/g.json: two"), no_keys, no_certificates
    )

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

    assert (
        check_config(Sources(config, {}), groups, no_keys, no_certificates, program="relay serve")
        == 2
    )

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

    assert (
        check_config(Sources(tmp_path / "gone.toml", options), Groups(), no_keys, no_certificates)
        == 2
    )

    first, second = capsys.readouterr().err.splitlines()
    assert "gone.toml: cannot read it: No such file" in first
    assert '--port = "x" is not allowed' in second


def test_keys_that_are_unusable_are_a_mistake_like_any_other(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[auth]\nmode = "token"\n[auth_token]\nsecret_file = "/secret"\n')

    def refuse(settings: Settings) -> None:
        raise SettingsError(f"auth_token.secret_file: {settings.auth_token.secret_file} is empty")

    assert check_config(Sources(config, {}), Groups(), refuse, no_certificates) == 2
    assert capsys.readouterr().err == "supervisor.py: auth_token.secret_file: /secret is empty\n"


NO_SECRET = 'auth_token.algorithm = "HS256" needs auth_token.secret_file'


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('[auth]\nmode = "token"\n', [NO_SECRET]),
        (
            '[auth]\nmode = "token"\n[auth_token]\nkey_files = ["a"]\njwks_url = "https://a/b"\n',
            [
                NO_SECRET,
                'auth_token.algorithm = "HS256" goes by auth_token.secret_file alone, not by'
                " auth_token.key_files and auth_token.jwks_url",
            ],
        ),
        (
            '[auth]\nmode = "token"\n[auth_token]\nalgorithm = "EdDSA"\nsecret_file = "a"\n',
            [
                'auth_token.algorithm = "EdDSA" has no use for auth_token.secret_file',
                'auth_token.algorithm = "EdDSA" needs one of auth_token.key_files,'
                " auth_token.jwks_file, auth_token.jwks_url",
            ],
        ),
        ('[auth]\nmode = "http"\n', ['auth.mode = "http" needs auth_http.url']),
        ('[auth]\nmode = "proxy"\n', ['auth.mode = "proxy" needs server.trusted_proxies']),
        (
            '[auth]\ndeny_file = "/deny"\n',
            ['auth.deny_file keeps nobody out with auth.mode = "open"'],
        ),
    ],
)
def test_what_a_mode_of_logging_in_lacks_is_told_all_at_once(
    config: Path, capsys: pytest.CaptureFixture[str], text: str, lines: list[str]
) -> None:
    config.write_text(text)

    assert (
        check_config(Sources(config, {}), Groups(), no_keys, no_certificates, program="relay serve")
        == 2
    )

    assert capsys.readouterr().err.splitlines() == [f"relay serve: {line}" for line in lines]
    with pytest.raises(SettingsError) as caught:
        Sources(config, {}).load()
    assert caught.value.problems == tuple(lines)


def test_a_mode_may_have_from_an_option_what_it_lacks_in_the_file(config: Path) -> None:
    config.write_text('[auth]\nmode = "token"\n')
    sources = Sources(config, {"auth_token.secret_file": "/secret"})

    assert sources.load().auth_token.secret_file == "/secret"


def test_all_files_of_logins_that_are_unusable_are_told_at_once(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "deny").write_text("everybody\nnobody\n")
    config.write_text(
        f'[auth]\nmode = "token"\ndeny_file = "{tmp_path}/deny"\n'
        f'[auth_token]\nalgorithm = "EdDSA"\nkey_files = ["{tmp_path}/1", "{tmp_path}/2"]\n'
    )

    assert check_config(Sources(config, {}), Groups(), authenticator_of, no_certificates) == 2

    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        *["auth_token.key_files"] * 2,
        *["auth.deny_file"] * 2,
    ]


def test_certificates_that_are_unusable_are_a_mistake_and_others_may_be_warned_of(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[tls]\ncertificate_files = ["/c"]\nkey_files = ["/k"]\n')

    def refuse(settings: Settings) -> tuple[str, ...]:
        raise SettingsError(f"tls.key_files: {settings.tls.key_files[0]} is empty")

    assert check_config(Sources(config, {}), Groups(), no_keys, refuse) == 2
    assert capsys.readouterr().err == "supervisor.py: tls.key_files: /k is empty\n"
    assert check_config(Sources(config, {}), Groups(), no_keys, lambda _: ["/c has expired"]) == 0
    said = capsys.readouterr()
    assert said.err == "supervisor.py: warning: /c has expired\n"
    assert said.out == f"ok settings of {config}\n"
