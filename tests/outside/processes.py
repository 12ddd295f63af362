"""The processes of a relay: how they are started, told apart and found to be gone."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import psutil  # type: ignore[import-untyped]

REPOSITORY: Final = Path(__file__).resolve().parents[2]

Role = Literal["worker", "front", "admin", "agent", "engine"]

# What the supervisor starts, by `python -m`; those of the chaos tests and Autobahn, from their own.
_ROLES: Final[dict[str, Role]] = {
    "workers": "worker",
    "relay.front": "front",
    "relay.admin": "admin",
    "relay.cluster": "agent",
    "relay.cluster.engine": "engine",
    "tests.chaos.sabotage.worker": "worker",
    "tests.chaos.sabotage.front": "front",
    "tests.chaos.sabotage.agent": "agent",
    "tests.autobahn.front": "front",
}


@dataclass(frozen=True)
class Child:
    """A process of the relay below the supervisor."""

    role: Role
    index: int
    process: Any


def children_of(supervisor: Any) -> list[Child]:
    """Return the living workers and fronts below a psutil process, by role and index.

    Raises:
        psutil.NoSuchProcess: the supervisor itself is gone.
    """
    children = []
    for process in supervisor.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            command = process.cmdline()
            if "-m" not in command or "--index" not in command:
                continue
            role = _ROLES[command[command.index("-m") + 1]]
            index = int(command[command.index("--index") + 1])
            children.append(Child(role, index, process))
    return sorted(children, key=lambda child: (child.role, child.index))


def lives(process: Any) -> bool:
    """Whether this psutil process runs; one that init has not yet taken note of does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """Have a process and all below it stand still, as on a machine whose lid is closed."""
    parent = psutil.Process(pid)
    processes = [parent, *parent.children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def environment_below(run: Path, *, tree: Path = REPOSITORY) -> dict[str, str]:
    """Return an environment in which a relay has its sockets below `run`, which must exist.

    Where it runs from another checkout, `tree`, it takes none of this one's modules.
    """
    left_out = {"XDG_RUNTIME_DIR"} if tree == REPOSITORY else {"XDG_RUNTIME_DIR", "PYTHONPATH"}
    environment = {k: v for k, v in os.environ.items() if k not in left_out}
    return {**environment, "TMPDIR": str(run)}


def groups_document(groups: Mapping[str, Iterable[str]]) -> str:
    """Return a provisioning file of groups, by jid; each one's first member is its admin."""
    document = {}
    for jid, members in groups.items():
        participants = [f"{member}@c.us" for member in members]
        document[jid] = {
            "subject": "a group",
            "participants": participants,
            "admins": participants[:1],
        }
    return json.dumps(document)
