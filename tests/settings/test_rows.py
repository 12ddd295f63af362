"""One row a setting: from it come the file, the options, the help, README and the reload."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from msgspec import Meta, field

from relay.settings.commandline import serve_command
from relay.settings.explain import config_text, readme_table
from relay.settings.reload import apply_live
from relay.settings.rows import Flag, Row, Table, settings_in
from relay.settings.sources import Sources
from relay.settings.tables import extension_settings
from tests.settings.harness import load, refusal


class TrialSettings(Table, frozen=True):
    """[trial]: one setting, and what is made of this one edit."""

    pause_bytes: Annotated[
        int,
        Meta(ge=1024, le=4096),
        Row(
            "Bytes between two tries. {default}: as many as there are.",
            unit="bytes",
            restart=True,
            flag=Flag("data", "--pause", "BYTES", "bytes between tries"),
            readme="how far tries are apart",
        ),
    ] = 2048
    kind: Annotated[Literal["hard", "soft"], Row("How it is tried.")] = "soft"


TABLES: dict[str, type[Table]] = {"trial": TrialSettings}


def test_a_setting_is_added_by_one_edit(tmp_path: Path) -> None:
    """Nothing but the class above knows of the settings of [trial]."""
    running = load(tmp_path, "", lambda modules: TABLES)

    # The file, its bounds, and a typed value.
    text = "[trial]\npause_bytes = 1024\nkind = 'hard'\n"
    wanted = load(tmp_path, text, lambda modules: TABLES)
    assert extension_settings(wanted, "trial", TrialSettings).pause_bytes == 1024
    assert (
        refusal(tmp_path, "[trial]\npause_bytes = 1\n", lambda modules: TABLES)
        == "trial.pause_bytes = 1 is not allowed; it must be an integer from 1024 to 4096"
    )
    # The text of the file with every default.
    assert config_text(TABLES).endswith(
        "\n[trial]\n# Bytes between two tries. 2 KiB: as many as there are. Needs a restart.\n"
        'pause_bytes = 2048\n# How it is tried.\nkind = "soft"\n'
    )
    # README's short table.
    assert readme_table(TABLES).endswith(
        "\n| `trial.pause_bytes` (restart) | `--pause` | 2 KiB | how far tries are apart |\n"
    )
    # The option and its help.
    rows = {each.key: each for each in settings_in("trial", TrialSettings).values()}
    seen: list[Sources] = []

    def run(sources: Sources) -> int:
        seen.append(sources)
        return 0

    command = serve_command(run, settings=rows)
    command.main(["--pause", "4096"], standalone_mode=False)
    assert seen[0].options == {"trial.pause_bytes": "4096"}
    help_text = command.get_help(command.make_context("relay", []))
    assert "  --pause BYTES   bytes between tries (default: 2048)\n" in help_text
    # SIGHUP.
    reload = apply_live(running, wanted, TABLES)
    assert (list(reload.changed), reload.needs_restart) == (["trial.kind"], ["trial.pause_bytes"])


def test_a_row_without_help_of_its_own_is_helped_by_its_comment() -> None:
    class Bare(Table, frozen=True):
        on: Annotated[bool, Row("It is on.", flag=Flag("data", "--on"))] = False

    command = serve_command(
        lambda sources: 0, settings={"bare.on": settings_in("bare", Bare)["on"]}
    )

    assert "  --on            It is on.\n" in command.get_help(command.make_context("relay", []))


def test_a_table_in_which_all_needs_a_restart_says_so_once() -> None:
    class Fixed(Table, frozen=True):
        one: Annotated[bool, Row("One.", restart=True)] = True
        two: Annotated[float, Meta(ge=0, le=1), Row("Two.", restart=True)] = 0.5
        three: Annotated[
            tuple[str, ...], Meta(description="words"), Row("Three.", restart=True)
        ] = field(default_factory=lambda: ("a", 'b"'))

    assert config_text({"fixed": Fixed}).endswith(
        "\n# Needs a restart, every key of it.\n[fixed]\n# One.\none = true\n# Two.\ntwo = 0.5\n"
        '# Three.\nthree = ["a", "b\\""]\n'
    )


def test_a_table_that_is_not_whole_is_a_bug_that_names_the_field() -> None:
    class NoRow(Table, frozen=True):
        key: Annotated[int, Meta(ge=0, le=1)] = 0

    class TwoRows(Table, frozen=True):
        key: Annotated[bool, Row("One."), Row("Two.")] = True

    class NoDefault(Table, frozen=True):
        key: Annotated[bool, Row("One.")]

    class NoBounds(Table, frozen=True):
        key: Annotated[int, Meta(ge=0), Row("One.")] = 0

    class NoWords(Table, frozen=True):
        key: Annotated[str, Meta(min_length=1), Row("One.")] = "x"

    for kind, said in (
        (NoRow, "NoRow.key needs one Row, and has 0"),
        (TwoRows, "TwoRows.key needs one Row, and has 2"),
        (NoDefault, "NoDefault.key has no default"),
        (NoBounds, "NoBounds.key has no bounds"),
        (NoWords, "NoWords.key has no bounds, and no Meta that describes what is allowed"),
    ):
        with pytest.raises(TypeError, match=said):
            settings_in("some", kind)
