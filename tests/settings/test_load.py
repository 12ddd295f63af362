"""Settings: what a file and flags may say, and what the operator is told otherwise."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay.errors import SettingsError
from relay.settings.load import draft_settings, load_settings, override, resolve
from relay.settings.tables import Settings
from tests.settings.harness import DEFAULTS, KEYS, load

# Files


def test_without_a_file_all_is_default() -> None:
    assert load_settings(None) == Settings()


def test_a_file_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    settings = load(tmp_path, "[server]\nport = 9000\n[mailbox]\nttl_days = 7\n")

    assert (settings.server.port, settings.mailbox.ttl_days) == (9000, 7.0)
    assert override(settings, {"server.port": 9011, "mailbox.ttl_days": 30}) == Settings()


def test_any_text_is_a_file_or_one_clear_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("any") / "relay.toml"
    values = st.one_of(
        st.text(), st.integers().map(str), st.floats().map(str), st.sampled_from(["true", "[]"])
    )
    lines = st.one_of(
        st.text(),
        st.builds("[{}]".format, st.sampled_from(list(DEFAULTS))),
        st.builds("{} = {}".format, st.sampled_from([k.partition(".")[2] for k in KEYS]), values),
    )

    @hypothesis_settings(max_examples=50, deadline=None)
    @given(st.lists(lines, max_size=6))
    def check(rows: list[str]) -> None:
        path.write_bytes("\n".join(rows).encode(errors="surrogatepass"))
        said, settings = "", Settings()
        try:
            settings = load_settings(path)
        except SettingsError as error:
            said = str(error)

        assert said.isprintable()
        # What is accepted also passes where the child processes read it.
        assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings

    check()


# Flags


def test_a_flag_beats_the_file(tmp_path: Path) -> None:
    settings = override(
        load(tmp_path, "[server]\nport = 9000\nworkers = 3"),
        {"server.port": 0, "store.durability": "os", "server.insecure_open": True},
    )

    assert (settings.server.port, settings.server.workers) == (0, 3)
    assert settings.store.durability == "os"
    assert settings.server.insecure_open


def test_a_flag_may_be_the_text_that_was_typed() -> None:
    assert override(Settings(), {"server.port": "9000"}).server.port == 9000
    assert override(Settings(), {"auth.deadline_s": "1.5"}).auth.deadline_s == 1.5


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"server.port": "x"},
            '--port = "x" is not allowed; it must be an integer from 0 to 65535',
        ),
        ({"server.workers": -1}, "--workers = -1 is not allowed; it must be an integer from 0"),
        ({"log.format": "xml"}, '--log-format = "xml" is not allowed; it must be "json" or "text"'),
        ({"server.data": "\udcff"}, '--data = "\\udcff" is not allowed; it must be a path'),
        ({"mailbox.ttl_days": 40}, "must be at least --mailbox-ttl-days, here 40.0"),
        ({"server.prot": 1}, "unknown key server.prot; did you mean server.port"),
        ({"port": 1}, "unknown key port; did you mean server.port or admin.port?"),
    ],
)
def test_a_bad_flag_is_named_as_it_was_typed(flags: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        override(Settings(), flags)

    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_says_what_it_allows(key: str) -> None:
    with pytest.raises(SettingsError, match=r"is not allowed; it must be [^ ]"):
        override(Settings(), {key: [object]})


# What depends on the machine


@pytest.mark.parametrize(
    ("cpu_count", "processes"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (4096, 256)]
)
def test_a_count_of_0_is_one_process_per_two_cores(cpu_count: int, processes: int) -> None:
    server = resolve(Settings(), cpu_count=cpu_count).server

    assert (server.fronts, server.workers) == (processes, processes)


def test_a_given_count_stays() -> None:
    settings = override(Settings(), {"server.workers": 8})

    assert resolve(settings, cpu_count=4).server.workers == 8
    assert resolve(settings, cpu_count=4).server.fronts == 2


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    plain = resolve(Settings(), cpu_count=1).server
    given_ = resolve(override(Settings(), {"server.groups": "g.json"}), cpu_count=1).server

    assert (plain.data, plain.groups) == (f"{tmp_path}/data", "")
    assert given_.groups == f"{tmp_path}/g.json"


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("tls", "certificate_files"),
        ("tls", "key_files"),
        ("tls", "client_ca_file"),
        ("auth", "deny_file"),
        ("auth_token", "secret_file"),
        ("auth_token", "key_files"),
        ("auth_token", "jwks_file"),
        ("admin", "token_file"),
        ("admin", "tls_certificate"),
        ("admin", "tls_key"),
    ],
)
def test_each_file_is_one_of_the_directory_of_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, key: str
) -> None:
    """The children have another one: `--token-secret secret` passed the check and did not start."""
    monkeypatch.chdir(tmp_path)
    is_list = key in ("certificate_files", "key_files")
    # In a mode in which all of them may be given.
    base = override(Settings(), {"server.trusted_proxies": ("127.0.0.1",), "auth.mode": "proxy"})
    own = msgspec.structs.replace(
        getattr(base, table), **{key: ("a.pem", "/b") if is_list else "a.pem"}
    )

    resolved = resolve(msgspec.structs.replace(base, **{table: own}), cpu_count=1)
    plain = resolve(base, cpu_count=1)

    here = f"{tmp_path}/a.pem"
    assert getattr(getattr(resolved, table), key) == ((here, "/b") if is_list else here)
    assert getattr(getattr(plain, table), key) == (() if is_list else "")


@pytest.mark.parametrize(
    ("url", "is_safe"),
    [
        ("https://id.example/keys", True),
        ("https://id.example:8443/keys?a=b", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://[::1]/keys", True),
        ("http://localhost/keys", True),
        ("http://id.example/keys", False),
        ("http://10.0.0.7/keys", False),
        ("http://127.0.0.1.id.example/keys", False),
        ("http://127.0.0.1@id.example/keys", False),
        ("https://", False),
        ("https://[", False),
        ("https://id.example:x/", False),
        ("ftp://127.0.0.1/", False),
        ("file:///etc/passwd", False),
        ("keys.json", False),
    ],
)
def test_keys_are_fetched_over_nothing_that_others_can_answer_for(url: str, is_safe: bool) -> None:
    flags = {"auth.mode": "token", "auth_token.algorithm": "EdDSA", "auth_token.jwks_url": url}

    mistakes = draft_settings(None, flags).mistakes

    assert (not mistakes) is is_safe, mistakes
