"""A setting is one row: all that is said of it stands where it is declared.

    class TrialSettings(Table, frozen=True):
        \"\"\"[trial]: how often something is tried.\"\"\"

        pause_s: Annotated[
            float, Meta(ge=0, le=60), Row("Seconds between two tries.", unit="s", restart=True)
        ] = 1.5

The field is its key and type, Meta its bounds, the value its default, Row the rest. From it come
what a file may say and what is told otherwise, the text of config/relay.toml, the options and
their help, README's table, and what SIGHUP applies. It is read as `settings.trial.pause_s`.
"""

from functools import cache
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from relay.settings.words import HIDDEN, allowed

# What the number of a setting counts; "" is whatever its comment says. Keys end with it.
Unit = Literal["", "bytes", "s", "days"]
# The headings of --help.
Section = Literal["processes", "network", "data", "settings and log"]


class Flag(msgspec.Struct, frozen=True):
    """The option of the command line that sets a setting, such as --port N.

    A setting that is true or false has no `metavar`: the option makes it true.
    """

    section: Section
    name: str
    metavar: str = ""
    # What --help says, if it is not the comment.
    help: str = ""


class Row(msgspec.Struct, frozen=True):
    """What is said of one setting besides its type, bounds and default.

    `comment` stands above the key in config/relay.toml: sentences in plain text, lines of any
    length; "{default}" in it becomes the default in its unit, such as "256 KiB". `restart` is of
    what a process looks at only when it starts: SIGHUP leaves such a setting as it is. That a
    restart is needed, or what hosts of a cluster share of it, is not part of the comment.
    """

    comment: str
    unit: Unit = ""
    restart: bool = False
    flag: Flag | None = None
    # What README's short table says of it; "": not listed there.
    readme: str = ""
    # The default in words, where the value says little: "one per two cores" for 0.
    default_words: str = ""
    # Whether its value is told nowhere: not in a mistake, not in the log, not by `repr`.
    secret: bool = False
    # Of a setting that a reload takes: whether each host of a cluster has its own, because it is of
    # its machine. The others are one for all hosts.
    own: bool = False
    # Of one that names files: whether what they hold is one for all hosts of a cluster. Then they
    # are read at a start and at a reload, and each host has them by names of its own.
    content: bool = False


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a table of settings, one `Row` a field; `Table()` of it is its defaults.

    A subclass is frozen too. Its fields are true or false, bounded numbers, literals, or of
    another type whose `Meta` describes in words what is allowed. They all have defaults. Where
    fields must agree, a `__post_init__` may raise ValueError with one line that says so.
    """

    def __repr__(self) -> str:
        kind = type(self)
        secrets = secrets_of(kind)
        values = (
            f"{name}={HIDDEN if name in secrets else repr(getattr(self, name))}"
            for name in kind.__struct_fields__
        )
        return f"{kind.__name__}({', '.join(values)})"


class Setting(NamedTuple):
    """One row of a table, taken apart."""

    table: str
    name: str
    type: Any
    default: Any
    row: Row
    # What it must be, in words: "an integer from 0 to 65535".
    allowed: str

    @property
    def key(self) -> str:
        """Its name everywhere, such as "server.port"."""
        return f"{self.table}.{self.name}"

    @property
    def is_shared(self) -> bool:
        """Whether all hosts of a cluster have it alike, and take it from each other."""
        return not (self.row.restart or self.row.own)


@cache
def secrets_of(kind: type[Table]) -> frozenset[str]:
    """Return the names of the settings of a table whose values are told nowhere."""
    return frozenset(
        each.name
        for each in msgspec.structs.fields(kind)
        for extra in get_args(each.type)[1:]
        if isinstance(extra, Row) and extra.secret
    )


def plain(value: object) -> Any:
    """Return `value`, of a setting or a table, as JSON has it: a tuple becomes a list."""
    return msgspec.json.decode(msgspec.json.encode(value))


def settings_in(table: str, kind: type[Table]) -> dict[str, Setting]:
    """Return the settings of the table [`table`], whose type is `kind`, by name, in order.

    Raises:
        TypeError: a field of `kind` has no Row, no default or no bounds: a bug of its author.
    """
    settings = {}
    for each in msgspec.structs.fields(kind):
        where = f"{kind.__name__}.{each.name}"
        rows = [extra for extra in get_args(each.type)[1:] if isinstance(extra, Row)]
        if len(rows) != 1:
            raise TypeError(f"{where} needs one Row, and has {len(rows)}")
        if each.default_factory is not msgspec.NODEFAULT:
            default = each.default_factory()
        elif each.default is not msgspec.NODEFAULT:
            default = each.default
        else:
            raise TypeError(f"{where} has no default")
        words = allowed(each.type)
        if words is None:
            raise TypeError(f"{where} has no bounds, and no Meta that describes what is allowed")
        settings[each.name] = Setting(table, each.name, each.type, default, rows[0], words)
    return settings
