"""An inquiry: what one process asks another beside the path of messages, and what it may hear.

A topic is a module of this package that declares its inquiries and their answers, and one in
`relay.front.inquiries` or `workers.inquiries` that answers them: its `handlers`. Nothing lists the
topics; they are found in those packages. In a cluster the admins of other hosts pass inquiries on
to their processes, and answer those of `relay.admin.inquiries` themselves.

    class AskWeather(Inquiry[Weather], frozen=True):
        name = "weather.now"
        answer = Weather

Answers grow by fields with defaults: in a rolling restart both ends are of different versions. Who
is of an older one, and does not know an inquiry, refuses it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

import msgspec

from relay.bus.identity import name_in_directory

Answer = TypeVar("Answer")

# What one answer may hold. Whoever has more to say says how to ask for the rest.
MAX_ITEMS: Final = 1000

UNKNOWN: Final = 404
FAILED: Final = 500
LATE: Final = 504


class Inquiry(msgspec.Struct, Generic[Answer], frozen=True):
    """Base of all inquiries; a subclass is frozen too, and its `name` is for good."""

    name: ClassVar[str]
    answer: ClassVar[Any]  # the type of what is answered


class NoAnswer(msgspec.Struct, frozen=True):
    """Why there is no answer; `code` as HTTP has it."""

    code: int
    reason: str


class Later:
    """What a handler returns whose answer must wait until something is durable.

    It calls `say` with that then, once, and in the thread that takes inquiries. Whoever asked may
    not wait any more by then.
    """

    __slots__ = ("say",)

    say: Callable[[object], None]  # is set before the next inquiry is taken


# Decides on one inquiry at once and within a millisecond or two; what takes longer it does in pages
# that are asked for one by one.
Handler: TypeAlias = Callable[[Any], object]
Handlers: TypeAlias = Mapping[type[Inquiry[Any]], Handler]


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """One inquiry on its way; nobody waits for the answer past `expires_ms` of `clock_ms`."""

    number: int
    expires_ms: int
    name: str
    body: msgspec.Raw


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """What became of the inquiry `number`: its answer, or with a `code` why there is none."""

    number: int
    body: msgspec.Raw = msgspec.Raw(b"\xc0")  # nil
    code: int = 0
    reason: str = ""


class Forwarded(msgspec.Struct, frozen=True, array_like=True):
    """An inquiry on its way to another host, whose admin asks for us, or is asked itself.

    Clocks of hosts differ, so it says for how long yet somebody waits there.
    """

    role: str
    index: int
    within_ms: int
    name: str
    body: msgspec.Raw


# What msgspec may raise of what somebody else has sent: the last for what is nested too deeply.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

encode: Final = msgspec.msgpack.Encoder().encode
decode_forwarded: Final = msgspec.msgpack.Decoder(Forwarded).decode
decode_asked: Final = msgspec.msgpack.Decoder(Asked).decode
decode_answered: Final = msgspec.msgpack.Decoder(Answered).decode


def endpoint_of(run_dir: Path, incarnation: int) -> Path:
    """Return where the process of that incarnation takes inquiries; no other ever had it."""
    return run_dir / name_in_directory("q", incarnation)


def topics_of(package: str) -> list[Any]:
    """Return the modules of `package`, by name."""
    found = importlib.import_module(package)
    names = sorted(each.name for each in pkgutil.iter_modules(found.__path__))
    return [importlib.import_module(f"{package}.{name}") for name in names]


def handlers_of(package: str, process: object) -> Handlers:
    """Return what the topics of `package` answer about `process`, by the type of the inquiry.

    Raises:
        ValueError: two of them answer the same inquiry.
    """
    handlers: dict[type[Inquiry[Any]], Handler] = {}
    for topic in topics_of(package):
        for kind, handler in topic.handlers(process).items():
            if kind in handlers:
                raise ValueError(f"two topics of {package} answer {kind.name}")
            handlers[kind] = handler
    return handlers
