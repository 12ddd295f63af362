"""Every setting told to a person: config/relay.toml and README's table, written from the rows.

`python -m relay.settings.explain` says whether they are up to date; with --write it makes them so.
"""

import json
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click

from relay.settings.catalogue import Catalogue
from relay.settings.rows import Setting, Table
from relay.settings.sizes import GIB, KIB, MIB, TIB

ROOT: Final = Path(__file__).parents[2]
CONFIG: Final = Path("config", "relay.toml")
README: Final = Path("README.md")

_WIDTH: Final = 100
_HEADER: Final = """\
# Every setting of the relay at its default. Copy it, or keep only the lines that you change:
# what is left out stays at its default. A command-line flag beats this file.
# An unknown key or a value out of bounds is refused, with what is allowed.
#
# SIGHUP has this file and the groups read again. Each is taken whole or refused whole. What has
# changed holds at once: for open sessions and for mailboxes that are fuller than they now may be
# too. Only a wait that has begun keeps its length. What "needs a restart" is named in the log and
# stays as it was. In a cluster what holds at once is shared: docs/cluster.md says how.
"""
_BEGIN: Final = "<!-- settings: by python -m relay.settings.explain --write -->\n"
_END: Final = "<!-- end of settings -->\n"
_SIZES: Final = ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"))


def config_text(extensions: Mapping[str, type[Table]] | None = None) -> str:
    """Return the text of config/relay.toml: every setting at its default, with its comment.

    The tables of `extensions`, by name, stand behind the relay's own.
    """
    parts = [_HEADER]
    for table, rows in Catalogue(extensions or {}).tables.items():
        whole = all(setting.row.restart for setting in rows.values())
        restart = "# Needs a restart, every key of it.\n" if whole else ""
        parts.append(f"\n{restart}[{table}]\n")
        parts += [_entry(setting, says_restart=not whole) for setting in rows.values()]
    return "".join(parts)


def readme_table(extensions: Mapping[str, type[Table]] | None = None) -> str:
    """Return the table of the settings to know, in Markdown."""
    lines = ["| setting | option | default | meaning |", "|---|---|---|---|"]
    for rows in Catalogue(extensions or {}).tables.values():
        for setting in rows.values():
            row = setting.row
            if row.readme:
                name = f"`{setting.key}`" + (" (restart)" if row.restart else "")
                option = f"`{row.flag.name}`" if row.flag else ""
                lines.append(f"| {name} | {option} | {_default(setting)} | {row.readme} |")
    return "\n".join(lines) + "\n"


def with_table(readme: str, table: str) -> str:
    """Return the text `readme` with `table` between its two marks.

    Raises:
        ValueError: it has not each of the marks once, in their order.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end or _BEGIN in after or _END in after:
        raise ValueError(f"needs the lines {_BEGIN.strip()} and {_END.strip()}, each once")
    return before + begin + table + end + after


def _entry(setting: Setting, *, says_restart: bool) -> str:
    comment = setting.row.comment.replace("{default}", _in_unit(setting) or str(setting.default))
    if setting.row.restart and says_restart:
        comment += " Needs a restart."
    if setting.row.own:
        comment += " Each host of a cluster has its own."
    if setting.row.content:
        comment += " All hosts of a cluster share the content, read at a start or reload."
    lines = textwrap.wrap(
        comment,
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join([*lines, f"{setting.name} = {_toml(setting.default)}"]) + "\n"


def _toml(value: object) -> str:
    match value:
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case bool() | str():
            return json.dumps(value)
        case int() | float():
            return str(value)
        case _:
            raise TypeError(f"a setting cannot be {value!r} in a TOML file")


def _default(setting: Setting) -> str:
    """Return the default as README has it: in words or a unit, or else as it is typed."""
    if setting.row.default_words:
        return setting.row.default_words
    if setting.default in ("", ()):
        return "none"
    return _in_unit(setting) or f"`{setting.default}`"


def _in_unit(setting: Setting) -> str:
    """Return the default in its unit, such as "256 KiB" or "30 days"; "" if it has none."""
    default = setting.default
    match setting.row.unit:
        case "":
            return f"{default:,}" if type(default) is int and default >= 10_000 else ""
        case "bytes":
            for size, name in _SIZES:
                if default and default % size == 0:
                    return f"{default // size} {name}"
            return f"{default:,} bytes"
        case unit:
            return f"{default:g} {unit}"


def _texts() -> list[tuple[Path, Callable[[str], str]]]:
    """Return the files that are written here, and how the text of each comes of the old one."""
    return [
        (CONFIG, lambda old: config_text()),
        (README, lambda old: with_table(old, readme_table())),
    ]


@click.command(help=__doc__)
@click.option("--write", is_flag=True, help="Bring them up to date.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=ROOT,
    help="Where config/relay.toml and README.md are, if not here.",
)
def main(write: bool, root: Path) -> None:
    """Write the files, or exit with 1 if one is not up to date."""
    stale = []
    for path, text_of in _texts():
        old = (root / path).read_text(encoding="utf-8")
        try:
            text = text_of(old)
        except ValueError as error:
            raise click.ClickException(f"{path} {error}") from None
        if text == old:
            continue
        stale.append(path)
        if write:
            (root / path).write_text(text, encoding="utf-8")
        click.echo(f"{path}: {'written' if write else 'not up to date'}")
    if stale and not write:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
