"""Settings: what a file and flags may say, and what the operator is told otherwise."""

import configparser
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from relay.errors import SettingsError
from relay.settings.catalogue import flag_of
from relay.settings.load import load_settings, override, resolve
from relay.settings.reload import apply_live
from relay.settings.tables import NEEDS_RESTART, Settings

CONFIG = Path(__file__).parents[2] / "config"
DEFAULTS: dict[str, dict[str, Any]] = msgspec.to_builtins(Settings())
KEYS = [f"{table}.{key}" for table, keys in DEFAULTS.items() for key in keys]


def load(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "relay.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path)


def refusal(tmp_path: Path, text: str) -> str:
    """Return what is said of a file that is refused, without the path that it begins with."""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    place = f"{tmp_path / 'relay.toml'}: "
    assert message.startswith(place)
    assert message.isprintable(), "not one line"
    return message.removeprefix(place)


# The files that come with the relay


def test_the_config_file_holds_every_default_and_nothing_else() -> None:
    document = tomllib.loads((CONFIG / "relay.toml").read_text(encoding="utf-8"))

    assert document == DEFAULTS
    assert [list(keys) for keys in document.values()] == [list(keys) for keys in DEFAULTS.values()]
    assert load_settings(CONFIG / "relay.toml") == Settings()


def test_the_config_file_comments_every_key() -> None:
    lines = (CONFIG / "relay.toml").read_text(encoding="utf-8").splitlines()

    bare = [
        line
        for before, line in pairwise(lines)
        if " = " in line and not line.startswith("#") and not before.startswith("# ")
    ]

    assert bare == []


def test_the_config_file_says_what_needs_a_restart() -> None:
    said = set()
    comment = table = ""
    table_said_it = False
    for line in (CONFIG / "relay.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment += line
            continue
        if line.startswith("["):
            table, table_said_it = line.strip("[]"), "Needs a restart" in comment
        elif " = " in line and (table_said_it or "Needs a restart." in comment):
            said.add(f"{table}.{line.split()[0]}")
        comment = ""

    assert said == NEEDS_RESTART


def test_systemd_waits_longer_than_the_supervisor_drains() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(CONFIG / "relay.service", encoding="utf-8")

    assert float(unit["Service"]["TimeoutStopSec"]) > Settings().supervisor.stop_deadline_s
    assert unit["Service"]["KillMode"] == "mixed"
    assert unit["Service"]["RestartPreventExitStatus"] == "2"


# Files


def test_without_a_file_all_is_default() -> None:
    assert load_settings(None) == Settings()


def test_a_file_replaces_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    settings = load(tmp_path, "[server]\nport = 9000\n[mailbox]\nttl_days = 7\n")

    assert (settings.server.port, settings.mailbox.ttl_days) == (9000, 7.0)
    assert override(settings, {"server.port": 9011, "mailbox.ttl_days": 30}) == Settings()


def test_the_resolved_settings_survive_the_way_to_a_child_process() -> None:
    settings = resolve(Settings(), cpu_count=4)

    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


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
        ("[auth]\nmode = 'token'", 'auth.mode = "token" is not allowed; it must be "open"'),
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "unknown key server.prot; did you mean server.port"),
        ("[server]\ndurability = 'os'", "unknown key server.durability; did you mean store.dur"),
        ("[store]\nzzz = 1", "unknown key store.zzz; known in [store]: durability, map_bytes"),
        ("port = 1", "unknown key port; did you mean server.port?"),
        ("zzz = 1", "unknown key zzz; known tables: server, auth, limits"),
        ("[sever]\nport = 1", "unknown table [sever]; did you mean [server]?"),
        ("[zzz]", "unknown table [zzz]; known tables: server, auth, limits"),
        ('["a\\nb"]', 'unknown table ["a\\nb"]; known tables'),
        ('[server]\n"a\\nb" = 1', 'unknown key server."a\\nb"; '),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known(
    tmp_path: Path, text: str, said: str
) -> None:
    assert refusal(tmp_path, text).startswith(said)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport 1\n", "at line 2, column"),
        ("[server]\n\nport =", "at line 3, end of document"),
        ("[log]\nlevel = 'info'\nlevel = 'info'\n", "at line 3"),
    ],
)
def test_a_syntax_error_names_the_line(tmp_path: Path, text: str, line: str) -> None:
    said = refusal(tmp_path, text)

    assert said.startswith("not TOML: ")
    assert line in said


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml: cannot read it: No such file"):
        load_settings(tmp_path / "gone.toml")
    with pytest.raises(SettingsError, match="cannot read it: Is a directory"):
        load_settings(tmp_path)


def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_bytes(b"# \xff")

    with pytest.raises(SettingsError, match="not UTF-8 at byte 2"):
        load_settings(path)


def test_a_newline_in_the_name_of_the_file_makes_no_second_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "a\nb")

    assert str(caught.value).isprintable()


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


# Settings that must agree


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[dedupe]\nretention_days = 29",
            "dedupe.retention_days = 29.0 must be at least mailbox.ttl_days, here 30.0",
        ),
        (
            "[flow]\nsession_pause_bytes = 5000000",
            "flow.session_max_bytes = 4194304 must be at least flow.session_pause_bytes",
        ),
        (
            "[limits]\nmessage_bytes = 262145",
            "limits.frame_bytes = 262144 must be at least limits.message_bytes, here 262145",
        ),
        (
            "[flow]\nsession_max_bytes = 524287",
            "must be at least 8 times limits.message_bytes, here 524288",
        ),
        ("[flow]\nlink_bytes = 262143", "must be at least limits.frame_bytes, here 262144"),
        ("[mailbox]\nmax_bytes = 65535", "must be at least limits.message_bytes, here 65536"),
        ("[store]\nmax_map_bytes = 67108864", "must be at least store.map_bytes"),
        ("[supervisor]\nrestart_min_s = 11", "must be at least supervisor.restart_min_s"),
        ("[supervisor]\nhung_after_s = 2.9", "must be at least 3 times supervisor.heartbeat_s"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refusal(tmp_path, text)


def test_settings_that_agree_are_judged_together_not_one_by_one() -> None:
    days = 60.0

    settings = override(Settings(), {"mailbox.ttl_days": days, "dedupe.retention_days": days})

    assert settings.mailbox.ttl_days == settings.dedupe.retention_days == days


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
        ({"port": 1}, "unknown key port; did you mean server.port?"),
    ],
)
def test_a_bad_flag_is_named_as_it_was_typed(flags: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        override(Settings(), flags)

    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_every_setting_has_a_flag_of_its_own() -> None:
    flags = [flag_of(key) for key in KEYS]

    assert len(set(flags)) == len(flags)
    assert flag_of("server.insecure_open") == "--insecure-open"
    assert flag_of("limits.frame_bytes") == "--limits-frame-bytes"


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


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.9", "::1", "0:0::0:1", "localhost"])
def test_open_mode_serves_a_loopback_host(host: str) -> None:
    assert resolve(override(Settings(), {"server.host": host}), cpu_count=1).server.host == host


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "192.168.1.2",
        "128.0.0.1",
        "::ffff:10.0.0.1",
        "localhost.example.org",
        "127.1",
    ],
)
def test_open_mode_is_refused_on_any_other_host_unless_asked_for(host: str) -> None:
    settings = override(Settings(), {"server.host": host})

    with pytest.raises(SettingsError, match=r"not a loopback address.*--insecure-open"):
        resolve(settings, cpu_count=1)

    asked_for = override(settings, {"server.insecure_open": True})
    assert resolve(asked_for, cpu_count=1).server.host == host


# Another file while the relay runs


def another(key: str, value: Any) -> Any:
    """Return another value of a setting, which goes with the defaults of all others."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return value - 1 if key == "mailbox.ttl_days" else value + 1


@pytest.mark.parametrize("key", KEYS)
def test_a_change_is_applied_or_said_to_need_a_restart(key: str) -> None:
    table, _, name = key.partition(".")
    running = Settings()
    old = getattr(getattr(running, table), name)
    new = another(key, old)
    wanted = msgspec.structs.replace(
        running, **{table: msgspec.structs.replace(getattr(running, table), **{name: new})}
    )

    reload = apply_live(running, wanted)

    if key in NEEDS_RESTART:
        assert reload == (running, {}, [key])
    else:
        assert reload == (wanted, {key: (old, new)}, [])


def test_settings_that_are_the_same_change_nothing() -> None:
    assert apply_live(Settings(), Settings()) == (Settings(), {}, [])


def test_what_can_change_does_beside_what_cannot() -> None:
    wanted = override(Settings(), {"store.durability": "os", "store.min_free_bytes": 5})

    reload = apply_live(Settings(), wanted)

    assert reload.settings == override(Settings(), {"store.min_free_bytes": 5})
    assert reload.needs_restart == ["store.durability"]


def test_a_change_that_does_not_go_with_what_stays_is_refused() -> None:
    wanted = override(Settings(), {"flow.link_bytes": 2**24, "limits.frame_bytes": 2**24})

    with pytest.raises(
        SettingsError,
        match=r"flow\.link_bytes \(needs a restart to change\) = 8388608 must be at least"
        r" limits\.frame_bytes, here 16777216",
    ):
        apply_live(Settings(), wanted)
