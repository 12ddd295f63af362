"""The texts that are written from the rows: config/relay.toml and README's table."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.settings.explain import ROOT, config_text, main, readme_table, with_table
from relay.settings.load import load_settings
from relay.settings.tables import NEEDS_RESTART, Settings
from tests.settings.harness import CONFIG, DEFAULTS


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
            comment += line.removeprefix("#")
            continue
        if line.startswith("["):
            table, table_said_it = line.strip("[]"), "Needs a restart" in comment
        elif " = " in line and (table_said_it or "Needs a restart." in comment):
            said.add(f"{table}.{line.split()[0]}")
        comment = ""

    assert said == NEEDS_RESTART


def test_the_config_file_is_what_the_rows_say() -> None:
    """If this fails: python -m relay.settings.explain --write."""
    assert (CONFIG / "relay.toml").read_bytes() == config_text().encode()


def test_the_table_in_the_readme_is_what_the_rows_say() -> None:
    """If this fails: python -m relay.settings.explain --write."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert with_table(readme, readme_table()) == readme


def test_the_config_file_fits_a_terminal() -> None:
    assert max(map(len, config_text().splitlines())) <= 100


def copy(tmp_path: Path) -> Path:
    """Return a directory with the files that are written, as they are."""
    (tmp_path / "config").mkdir()
    for name in ("README.md", "config/relay.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_files_that_are_up_to_date_are_left_alone(tmp_path: Path) -> None:
    root = copy(tmp_path)

    result = CliRunner().invoke(main, ["--root", str(root), "--write"])

    assert (result.exit_code, result.output) == (0, "")


def test_files_that_are_not_are_told_and_with_write_made_so(tmp_path: Path) -> None:
    root = copy(tmp_path)
    config, readme = root / "config" / "relay.toml", root / "README.md"
    config.write_text("[server]\n")
    whole = readme.read_text(encoding="utf-8")
    readme.write_text(whole.replace("| `9011` |", "| `9012` |"), encoding="utf-8")

    told = CliRunner().invoke(main, ["--root", str(root)])
    assert told.exit_code == 1
    assert told.output == "config/relay.toml: not up to date\nREADME.md: not up to date\n"
    assert config.read_text() == "[server]\n"

    written = CliRunner().invoke(main, ["--root", str(root), "--write"])
    assert written.exit_code == 0
    assert config.read_text(encoding="utf-8") == config_text()
    assert readme.read_text(encoding="utf-8") == whole


@pytest.mark.parametrize("mark", ["<!-- settings", "<!-- end of settings"])
def test_a_readme_without_a_mark_or_with_two_is_refused(mark: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    [line] = [line for line in readme.splitlines(keepends=True) if line.startswith(mark)]

    for text in (readme.replace(line, ""), readme + line):
        with pytest.raises(ValueError, match="each once"):
            with_table(text, "")
