"""What hosts of a cluster say to each other, and what of it may change between two versions.

`python -m tests.cluster.dialect --write` notes in `dialect.txt` how this version speaks. That is
for a release: the next version is then held against it (`test_dialect`). None with several hosts is
out yet; until then it is written anew wherever hosts come to say something else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import inspect

from relay.bus import envelopes
from relay.cluster import requests, transfers
from relay.cluster.beats import Beat
from relay.disk.layout import DATA_FORMAT
from workers.log import record
from workers.log.parts import MOST_PARTS

PATH: Final = Path(__file__).with_name("dialect.txt")
# All that crosses from one host to another, or that one has stored and another reads.
SAID: Final = (
    *(envelopes.WorkerBatch, envelopes.FrontBatch, envelopes.PeerBatch),
    *(Beat, requests.Request, requests.Answer, requests.Placing),
    *(transfers.Request, transfers.Answer),
    *(record.Claimed, record.Handed),
)
_NAMES: Final[Mapping[type[Any], str]] = {
    inspect.BoolType: "bool",
    inspect.BytesType: "bytes",
    inspect.FloatType: "float",
    inspect.IntType: "int",
    inspect.NoneType: "none",
    inspect.StrType: "str",
}


class Field(msgspec.Struct, frozen=True):
    """A field of a struct, in its place."""

    name: str
    type: str
    may_lack: bool = False  # it has a default


class Shape(msgspec.Struct, frozen=True):
    """How a struct is written: as an array or a map, under which tag."""

    is_array: bool
    tag: str
    fields: tuple[Field, ...]


class Dialect(msgspec.Struct, frozen=True):
    """How a version speaks: the numbers of its formats, and the shape of each struct, by name."""

    numbers: Mapping[str, int]
    shapes: Mapping[str, Shape]


def ours() -> Dialect:
    """Return how this version speaks."""
    kinds = {f"kind of record {kind.name}": int(kind) for kind in record.Kind}
    formats = {"format of records": record.FORMAT, "format of data": DATA_FORMAT}
    shapes: dict[str, Shape] = {}
    for each in SAID:
        _name_of(inspect.type_info(each), shapes)
    bounds = {"most records on their way": record.MOST_IN_FLIGHT, "most parts": MOST_PARTS}
    return Dialect(formats | kinds | bounds, shapes)


def _name_of(kind: Any, shapes: dict[str, Shape]) -> str:
    """Return the name of a type; the structs in it are noted, too."""
    match kind:
        case inspect.StructType():
            cls = kind.cls
            name = f"{cls.__module__}.{cls.__name__}"
            if name not in shapes:
                shapes[name] = Shape(kind.array_like, str(kind.tag), ())  # for one in itself
                fields = tuple(
                    Field(field.encode_name, _name_of(field.type, shapes), not field.required)
                    for field in kind.fields
                )
                shapes[name] = Shape(kind.array_like, str(kind.tag), fields)
            return name
        case inspect.UnionType():
            return "|".join(sorted(_name_of(each, shapes) for each in kind.types))
        case inspect.ListType() | inspect.VarTupleType():
            return f"[{_name_of(kind.item_type, shapes)}]"
        case inspect.TupleType():
            return f"[{','.join(_name_of(each, shapes) for each in kind.item_types)}]"
        case inspect.DictType():
            key, value = (_name_of(each, shapes) for each in (kind.key_type, kind.value_type))
            return f"{{{key}:{value}}}"
    return _NAMES[type(kind)]


def as_text(dialect: Dialect) -> str:
    """Return a dialect as people compare it."""
    lines = [f"{name} = {number}" for name, number in sorted(dialect.numbers.items())]
    for name, shape in sorted(dialect.shapes.items()):
        lines += ["", f"{name} {'array' if shape.is_array else 'map'} {shape.tag}"]
        for field in shape.fields:
            lines.append(f"    {field.name} {field.type}{' ?' if field.may_lack else ''}")
    return "\n".join(lines) + "\n"


def from_text(text: str) -> Dialect:
    """Return what `as_text` wrote."""
    numbers: dict[str, int] = {}
    shapes: dict[str, Shape] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith(" "):
            field, kind, *may_lack = line.split()
            before = shapes[name]
            fields = (*before.fields, Field(field, kind, bool(may_lack)))
            shapes[name] = msgspec.structs.replace(before, fields=fields)
        elif " = " in line:
            what, _, number = line.partition(" = ")
            numbers[what] = int(number)
        elif line:
            name, how, tag = line.split()
            shapes[name] = Shape(how == "array", tag, ())
    return Dialect(numbers, shapes)


def breaks(before: Dialect, now: Dialect, heard_first: frozenset[str]) -> Iterator[str]:
    """Yield what keeps hosts of two neighbouring versions from understanding each other.

    `heard_first` are structs and kinds of records which this version is the first to understand,
    and does not say.
    """
    for what, number in before.numbers.items():
        if now.numbers.get(what) != number:
            yield f"{what} was {number}, and is {now.numbers.get(what)}"
    for what in [*now.numbers, *now.shapes]:
        if what not in before.numbers and what not in before.shapes and what not in heard_first:
            yield f"{what} is new: its neighbour would not know it"
    for name, shape in before.shapes.items():
        other = now.shapes.get(name)
        if other is None:
            yield f"{name} is not known any more, and its neighbour says it"
        elif (shape.is_array, shape.tag) != (other.is_array, other.tag):
            yield f"{name} has another form, or another tag"
        else:
            yield from _breaks_in(name, shape, other)


def _breaks_in(name: str, before: Shape, now: Shape) -> Iterator[str]:
    old, new = (
        {at if before.is_array else field.name: field for at, field in enumerate(shape.fields)}
        for shape in (before, now)
    )
    for at, field in old.items():
        other = new.get(at)
        if other is None or other.type != field.type:
            yield f"{name}: {field.name} {field.type} is not where its neighbour has it"
    for at, field in new.items():
        if at not in old and not field.may_lack:
            yield f"{name}: {field.name} is new and has no default, and its neighbour lacks it"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tests.cluster.dialect --write")
    PATH.write_text(as_text(ours()))
