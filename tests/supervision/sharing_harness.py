"""A host of a cluster by its files: what it has of the accord, and what the agent says of it."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from relay.auth.modes import authenticator_of
from relay.disk.accord import accord_path
from relay.disk.groupfile import Group
from relay.process.place import read_groups
from relay.settings.commandline import Sources
from relay.settings.tables import Settings
from relay.supervision.events import Asker
from relay.supervision.reload import InForce
from relay.supervision.sharing import Sharing, Taken, Wanted

PEM = "-----BEGIN X-----\nAAAA\n-----END X-----\n"
CLUSTER: dict[str, Any] = {
    "cluster.name": "relay",
    "cluster.hosts": ("a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3"),
    **{f"cluster.{name}": PEM for name in ("ca", "certificate", "certificate_key")},
    "cluster.password": "hunter2" * 4,
    "cluster.bus_public": "p" * 40,
    "cluster.bus_secret": "s" * 40,
}
GROUP = Group(local="9-9", subject="S", participants=("1",), admins=())
BY = Asker(7, 1)


def check_keys(settings: Settings) -> None:
    authenticator_of(settings)


class Host:
    """One host: its files, and what it has of the accord; `agent` stands for the others."""

    def __init__(self, directory: Path, name: str, lines: list[MutableMapping[str, Any]]) -> None:
        self.directory = directory / name
        self.data = self.directory / "data"
        self.data.mkdir(parents=True)
        self.config = self.directory / "relay.toml"
        self.groups = self.directory / "groups.json"
        self.config.write_text("")
        self._name = name
        self._lines = lines

    def start(self, **options: object) -> None:
        given = {"cluster.host_name": self._name, "server.data": str(self.data)}
        sources = Sources(self.config, {**CLUSTER, **given, **options})
        self.in_force = InForce(sources, sources.load())
        self.sharing = Sharing(self.in_force, check_keys)
        self.sharing.join()
        self.in_force.load_groups()
        self.in_force.found("127.0.0.1", 40123)
        self.sharing.place_files()
        self.sharing.look_at_files()

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def write_groups(self, *jids: str) -> None:
        group = {"subject": "S", "participants": ["1@c.us"]}
        self.groups.write_text(json.dumps(dict.fromkeys(jids, group)))

    def has(self, accord: bytes) -> Taken:
        """The agent has found it."""
        accord_path(self.data).write_bytes(accord)
        return self.sharing.take()

    def reload(self) -> Taken | Wanted:
        self.in_force.take_report()
        return self.sharing.begin(BY)

    def wants(self) -> Wanted:
        found = self.reload()
        assert isinstance(found, Wanted), self.in_force.report
        return found

    def share(self) -> bytes:
        """A reload that a majority takes; return the accord."""
        wanted = self.wants()
        accord = wanted.accord.encoded()
        accord_path(self.data).write_bytes(accord)
        assert self.sharing.settle(wanted.number, "") is not None
        return accord

    def refused(self) -> str:
        assert self.reload() == Taken()
        [refusal] = self.in_force.report.refusals
        return refusal

    @property
    def nesting(self) -> int:
        return self.in_force.settings.limits.nesting

    @property
    def locals(self) -> list[str]:
        assert self.in_force.groups_memo is not None
        return list(read_groups(os.dup(self.in_force.groups_memo)))

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        found = [line for line in self._lines if line["event"] == event]
        self._lines.clear()
        return found
