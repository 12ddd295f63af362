"""Tables of settings that extensions have: read, checked and reloaded like the relay's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from relay.errors import SettingsError
from relay.settings.load import draft_settings, load_settings
from relay.settings.reload import apply_live
from relay.settings.rows import Row, Table
from relay.settings.tables import TABLES, Settings, extension_settings
from tests.settings.harness import load, mistakes, refusal


class PresenceSettings(Table, frozen=True):
    """[presence]: who is there."""

    idle_s: Annotated[float, Meta(ge=1, le=3600), Row("Seconds until one is idle.", unit="s")] = 60
    away_s: Annotated[float, Meta(ge=1, le=3600), Row("Seconds until one is away.", unit="s")] = 300
    watchers: Annotated[int, Meta(ge=0, le=1000), Row("Who may watch one user.", restart=True)] = (
        100
    )
    shown_to: Annotated[
        tuple[str, ...], Meta(description="a list of words"), Row("Who sees it.")
    ] = ("all",)

    def __post_init__(self) -> None:
        if self.away_s < self.idle_s:
            raise ValueError("away_s must be at least idle_s")


class AuditSettings(Table, frozen=True):
    """[audit]: what is written down."""

    lines: Annotated[int, Meta(ge=1, le=1000), Row("Lines of it.")] = 10


def tables_of(modules: Sequence[str]) -> Mapping[str, type[Table]]:
    """One extension that is always there, one that is loaded by name, and one that is broken."""
    tables: dict[str, type[Table]] = {"presence": PresenceSettings}
    for module in modules:
        if module != "company.audit":
            raise SettingsError(f"{module} cannot be imported")
        tables["audit"] = AuditSettings
    return tables


AUDIT = '[server]\nextensions = ["company.audit"]\n'


# A file


@pytest.mark.parametrize("text", ["", "[presence]\n"])
def test_a_table_that_says_nothing_is_the_defaults_in_full(tmp_path: Path, text: str) -> None:
    settings = load(tmp_path, text, tables_of)

    assert settings.extensions == {
        "presence": {"idle_s": 60, "away_s": 300, "watchers": 100, "shown_to": ["all"]}
    }
    assert load_settings(None, tables_of) == settings


def test_a_table_of_an_extension_is_read_like_any_other(tmp_path: Path) -> None:
    text = AUDIT + '[presence]\nidle_s = 5\nshown_to = ["1", "2"]\n[audit]\nlines = 3\n'

    settings = load(tmp_path, text, tables_of)

    assert settings.server.extensions == ("company.audit",)
    assert extension_settings(settings, "presence", PresenceSettings) == PresenceSettings(
        idle_s=5, shown_to=("1", "2")
    )
    assert extension_settings(settings, "audit", AuditSettings).lines == 3


def test_the_tables_of_extensions_survive_the_way_to_a_child_process(tmp_path: Path) -> None:
    settings = load(tmp_path, AUDIT + "[presence]\nwatchers = 7\n", tables_of)

    read = msgspec.json.decode(msgspec.json.encode(settings), type=Settings)

    assert read == settings
    assert extension_settings(read, "presence", PresenceSettings).watchers == 7


def test_an_extension_without_a_table_in_the_settings_has_its_defaults() -> None:
    assert extension_settings(Settings(), "audit", AuditSettings) == AuditSettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[presence]\nidel_s = 5", "unknown key presence.idel_s; did you mean presence.idle_s"),
        ("[presence]\nidle_s = 0", "presence.idle_s = 0 is not allowed; it must be a number from"),
        ("[presence]\nshown_to = 1", "shown_to = 1 is not allowed; it must be a list of words"),
        ("presence = 1", "presence = 1 must be a table: [presence]"),
        ("[presence]\nidle_s = 301", "[presence] is not allowed: away_s must be at least idle_s"),
        ("[presense]", "unknown table [presense]; did you mean [presence]?"),
        ("[zzz]", "supervisor, log, admin, webhooks, cluster, presence"),
        # It is known only if its module is loaded.
        ("[audit]\nlines = 3", "unknown table [audit]; "),
        (AUDIT + "[audit]\nlines = 0", "audit.lines = 0 is not allowed; it must be an integer"),
        ("[extensions]", "unknown table [extensions]; known tables: server"),
    ],
)
def test_a_mistake_in_a_table_of_an_extension_is_told_like_any_other(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refusal(tmp_path, text, tables_of)


@pytest.mark.parametrize(
    "value",
    [
        *('"company.audit"', '[""]', '["a b"]', '["a..b"]', '[".a"]', '["a."]', '["1a"]'),
        *('["a\\n"]', '["a;b"]', '["a-b"]', '["é"]', "[1]", "{}", "true"),
        '["%s"]' % ("a" * 256),
        "[%s]" % ('"a",' * 101),
    ],
)
def test_what_is_no_list_of_dotted_names_is_refused(tmp_path: Path, value: str) -> None:
    # The table may be that of an extension that was meant.
    said = refusal(tmp_path, f"[server]\nextensions = {value}\n[audit]\nlines = 0\n", tables_of)

    assert said.startswith("server.extensions = ")
    assert "it must be a list of at most 100 names of Python modules" in said


def test_a_module_that_cannot_be_loaded_is_told_beside_the_other_mistakes(tmp_path: Path) -> None:
    text = (
        'zzz = 1\n[server]\nextensions = ["no.such"]\nport = -1\n'
        "[its_table]\nkey = 1\n[presence]\nidle_s = 0\n"
    )

    assert mistakes(tmp_path, text, tables_of) == [
        "server.extensions: no.such cannot be imported",
        "unknown key zzz; known tables: " + ", ".join([*TABLES, "presence"]),
        "server.port = -1 is not allowed; it must be an integer from 0 to 65535",
        "presence.idle_s = 0 is not allowed; it must be a number from 1 to 3600",
    ]


def test_an_extension_with_the_name_of_a_table_is_told_with_the_file(tmp_path: Path) -> None:
    said = refusal(tmp_path, "", lambda modules: {"limits": AuditSettings})

    assert said == 'server.extensions: an extension cannot be called "limits": it is taken'


def test_modules_named_over_the_file_are_those_whose_tables_it_may_have(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[audit]\nlines = 3\n")

    draft = draft_settings(path, {"server.extensions": ["company.audit"]}, tables_of)

    assert draft.checked().extensions["audit"] == {"lines": 3}


# Another file while the relay runs


def test_a_change_in_a_table_of_an_extension_holds_at_once(tmp_path: Path) -> None:
    running = load(tmp_path, "", tables_of)
    wanted = load(tmp_path, '[presence]\nidle_s = 5\nshown_to = ["1"]\n', tables_of)

    reload = apply_live(running, wanted, tables_of(()))

    assert reload == (
        wanted,
        {"presence.idle_s": (60, 5), "presence.shown_to": (["all"], ["1"])},
        [],
    )


def test_what_needs_a_restart_in_a_table_of_an_extension_stays(tmp_path: Path) -> None:
    running = load(tmp_path, "", tables_of)
    wanted = load(tmp_path, "[presence]\nwatchers = 7\nidle_s = 5\n", tables_of)

    reload = apply_live(running, wanted, tables_of(()))

    presence = extension_settings(reload.settings, "presence", PresenceSettings)
    assert (presence.watchers, presence.idle_s) == (100, 5)
    assert reload.needs_restart == ["presence.watchers"]


def test_an_extension_that_is_not_loaded_yet_waits_for_the_restart_with_its_table(
    tmp_path: Path,
) -> None:
    running = load(tmp_path, "", tables_of)
    wanted = load(tmp_path, AUDIT + "[audit]\nlines = 3\n", tables_of)

    assert apply_live(running, wanted, tables_of(())) == (running, {}, ["server.extensions"])


def test_an_extension_that_is_dropped_runs_on_as_it_was_until_the_restart(tmp_path: Path) -> None:
    running = load(tmp_path, AUDIT + "[audit]\nlines = 3\n", tables_of)
    wanted = load(tmp_path, "", tables_of)

    reload = apply_live(running, wanted, tables_of(["company.audit"]))

    assert reload == (running, {}, ["server.extensions"])


class PairSettings(Table, frozen=True):
    """[pair]: two numbers, of which one can change at once."""

    low: Annotated[int, Meta(ge=0, le=9), Row("The lower one.")] = 1
    high: Annotated[int, Meta(ge=0, le=9), Row("The higher one.", restart=True)] = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low must be at most high")


def test_a_change_that_does_not_go_with_what_stays_is_refused(tmp_path: Path) -> None:
    tables = {"pair": PairSettings}
    running = load(tmp_path, "", lambda modules: tables)
    wanted = load(tmp_path, "[pair]\nlow = 5\nhigh = 6\n", lambda modules: tables)

    with pytest.raises(SettingsError, match=r"\[pair\] is not allowed .*low must be at most high"):
        apply_live(running, wanted, tables)
