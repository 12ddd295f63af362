"""The shape of the code: which part may import which, what is pure, what is banned.

Imports for type checking count like any other, but may go in circles within one package.
"""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    [*ROOT.glob("relay/**/*.py"), *ROOT.glob("workers/**/*.py"), ROOT / "supervisor.py"]
)

# What each room may import besides itself: a room is a package of `relay` or `workers`, a module
# that stands alone in `relay`, or a program. Arrows point down this list, and no other way.
GROUND = frozenset({"relay", "relay.errors", "relay.log", "relay.clock"})
ARROWS: dict[str, frozenset[str]] = {
    "relay": frozenset(),
    "relay.errors": frozenset(),
    "relay.log": frozenset(),
    "relay.clock": frozenset(),
    "relay.settings": GROUND,
    "relay.protocol": GROUND | {"relay.settings"},
    "relay.disk": GROUND | {"relay.settings", "relay.protocol"},
    "relay.bus": GROUND | {"relay.settings", "relay.protocol"},
}
ARROWS["relay.process"] = ARROWS["relay.bus"] | {"relay.bus", "relay.disk"}
ARROWS["relay.extensions"] = ARROWS["relay.process"] | {"relay.process"}
_SERVING = ARROWS["relay.extensions"] | {"relay.extensions"}
ARROWS |= {
    "relay.front": _SERVING,
    "relay.supervision": _SERVING,
    "workers.store": _SERVING,
    "workers.shard": _SERVING | {"workers.store"},
    "workers.tools": _SERVING | {"workers.store", "workers.shard"},
    "workers": _SERVING | {"workers.store", "workers.shard"},
    "supervisor": frozenset({"relay.supervision"}),
    "relay.client": frozenset({"relay", "relay.errors", "relay.protocol"}),
    "relay.chat": frozenset({"relay.client"}),
    "relay.loadgen": frozenset({"relay", "relay.errors"}),
}
# The tools of an operator, by the name that they have always had.
ENTRIES = {"workers.store.__main__": frozenset({"workers.tools"})}

# What decides does no I/O and reads no clock: its callers do, and pass in what they found.
PURE = (
    "relay.protocol.*",
    "relay.bus.envelopes",
    "relay.bus.link",
    "relay.bus.topology",
    "relay.client.protocol",
    "relay.front.session",
    "relay.front.pinger",
    "relay.front.wheel",
    "relay.front.wire",
    "relay.supervision.deaths",
    "workers.store.keys",
    "workers.fronts",
    "workers.schedule",
    "workers.shard.*",
)
IMPURE_MODULES = frozenset(
    [
        "asyncio",
        "datetime",
        "lmdb",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "select",
        "selectors",
        "socket",
        "ssl",
        "structlog",
        "subprocess",
        "threading",
        "time",
        "uvloop",
        "websockets",
        "zmq",
    ]
)

# Byte shuffling of the websockets library.
PURE_ALL_THE_SAME = frozenset(["websockets.speedups", "websockets.utils"])

BANNED_MODULES = frozenset(["cloudpickle", "dill", "marshal", "pickle", "shelve"])
BANNED_NAMES = frozenset(["eval", "exec", "compile", "__import__"])
# pyzmq's pyobj methods are pickle.
BANNED_ATTRIBUTES = frozenset(["send_pyobj", "recv_pyobj"])


class Import(NamedTuple):
    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer} line {self.line} imports {self.imported}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def imports_in(source: str, importer: str) -> Iterator[Import]:
    """Yield every import, wherever it stands: at the top, in a function, for type checking."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(importer, name.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{importer} line {node.lineno}: an import that is relative"
            assert node.module is not None
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield Import(importer, whole if is_module(whole) else node.module, node.lineno)


def room_of(module: str) -> str:
    top, _, rest = module.partition(".")
    room = f"{top}.{rest.split('.')[0]}" if rest else top
    return room if room in ARROWS or top == "relay" else top


def wrong_arrows(source: str, importer: str) -> list[str]:
    here = room_of(importer)
    assert here in ARROWS, f"say in ARROWS what {here} may import"
    allowed = ARROWS[here] | {here} | ENTRIES.get(importer, frozenset())
    return [
        str(each)
        for each in imports_in(source, importer)
        if each.imported.split(".")[0] in ("relay", "workers", "supervisor", "tests")
        and room_of(each.imported) not in allowed
    ]


def impure_imports(source: str, importer: str) -> list[str]:
    return [
        str(each)
        for each in imports_in(source, importer)
        if each.imported.split(".")[0] in IMPURE_MODULES and each.imported not in PURE_ALL_THE_SAME
    ]


def banned_things(source: str, importer: str) -> list[str]:
    found = [
        str(each)
        for each in imports_in(source, importer)
        if each.imported.split(".")[0] in BANNED_MODULES
    ]
    for node in ast.walk(parsed(source)):
        match node:
            case ast.Name(id=name) if name in BANNED_NAMES:
                found.append(f"{importer} line {node.lineno} uses {name}")
            case ast.Attribute(value=ast.Name(id="os"), attr="system" | "popen" as name):
                found.append(f"{importer} line {node.lineno} runs a shell by os.{name}")
            case ast.Attribute(attr=name) if name in BANNED_ATTRIBUTES:
                found.append(f"{importer} line {node.lineno} uses .{name}")
            case ast.keyword(arg="shell", value=value) if not (
                isinstance(value, ast.Constant) and value.value is False
            ):
                found.append(f"{importer} line {value.lineno} passes shell")
            case _:
                pass
    return found


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    assert wrong_arrows(path.read_text(), module_of(path)) == []


def pure_sources() -> list[Path]:
    return [path for path in SOURCES if any(fnmatch(module_of(path), name) for name in PURE)]


@pytest.mark.parametrize("path", pure_sources(), ids=module_of)
def test_decisions_are_pure(path: Path) -> None:
    assert impure_imports(path.read_text(), module_of(path)) == []


def test_every_pure_module_is_there() -> None:
    modules = {module_of(path) for path in pure_sources()}

    for name in PURE:
        assert name in modules or name.endswith("*")
    assert {"relay.protocol.codec", "relay.protocol.sheet", "workers.shard.shard"} <= modules


@pytest.mark.parametrize("path", SOURCES, ids=module_of)
def test_nothing_is_unpickled_evaluated_or_given_to_a_shell(path: Path) -> None:
    assert banned_things(path.read_text(), module_of(path)) == []


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("relay.protocol.codec", "from relay.bus import link"),
        ("relay.protocol.codec", "from relay.bus.link import Outgoing"),
        ("relay.protocol.codec", "import relay.bus.link"),
        ("relay.protocol.codec", "def f():\n    from relay.bus.link import Outgoing"),
        ("relay.protocol.codec", "if TYPE_CHECKING:\n    from relay.bus.link import Outgoing"),
        ("relay.settings.tables", "from relay.protocol.slots import slot_of"),
        ("relay.errors", "import relay.settings"),
        ("relay.bus.link", "import relay.front.session"),
        ("relay.front.session", "from workers import shard"),
        ("workers.shard.shard", "from relay.front.session import Session"),
        ("relay.chat", "from relay.front.session import Session"),
        ("relay.client.client", "import relay.front.session"),
        ("relay.front.session", "import relay.client"),
        ("relay.process.place", "import relay.client"),
        ("relay.loadgen.main", "import relay.bus.link"),
        ("relay.loadgen.main", "import relay.chat"),
        ("workers.shard.shard", "import supervisor"),
        ("relay.bus.link", "import tests.fake_relay"),
        ("workers.shard.shard", "import relay.unheard_of"),
    ],
)
def test_a_wrong_arrow_would_be_found(importer: str, source: str) -> None:
    assert wrong_arrows(source, importer)


def test_a_right_arrow_is_not_one() -> None:
    source = "import relay\nimport asyncio\nfrom relay.protocol import codec\nimport relay.errors"

    assert wrong_arrows(source, "relay.front.session") == []
    assert wrong_arrows("from relay.front.listener import Front", "relay.front.connection") == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "eval('1')",
        "map(eval, [])",
        "exec('x = 1')",
        "__import__('os')",
        "os.system('ls')",
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "socket.recv_pyobj()",
    ],
)
def test_a_banned_thing_would_be_found(source: str) -> None:
    assert banned_things(source, "workers.shard")


def test_what_only_looks_banned_is_not() -> None:
    source = "re.compile('x')\nsubprocess.run(['ls'], shell=False)\ntimes.system\nself.eval()"

    assert banned_things(source, "workers.shard.shard") == []
