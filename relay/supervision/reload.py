"""The settings and groups that hold, and SIGHUP, which has them read again.

The children read copies in the run directory: what was refused here never gets there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from relay import log
from relay.disk.files import replace_file
from relay.disk.groupfile import Group, dump_groups, load_groups
from relay.errors import RelayError
from relay.protocol.jid import group_jid
from relay.settings.commandline import Sources
from relay.settings.reload import apply_live
from relay.settings.tables import Settings

logger = log.get_logger()


class InForce:
    """The settings and groups that hold, where they come from, and the copies for the children.

    A file that is refused changes nothing, and leaves a line in the log that says why.
    """

    def __init__(self, sources: Sources, settings: Settings) -> None:
        """Begin with `settings`, which were loaded from `sources`."""
        self._sources = sources
        self._asked = settings  # as the sources had them
        self._run_dir: Path | None = None
        # A hash of each group, since the groups themselves may take more memory than all the rest.
        self._groups: dict[str, int] = {}
        self.settings = settings  # the same, with the host and port that were found for them

    def load_groups(self) -> bytes:
        """Read the groups file; return the copy for `publish`.

        Raises:
            SettingsError: the file is unusable.
        """
        groups = self._read_groups()
        self._groups = _hashes(groups)
        return dump_groups(groups)

    def publish(self, run_dir: Path, groups: bytes, *, host: str, port: int) -> None:
        """Write the copies into `run_dir`, with the host and port that were found.

        Raises:
            DiskError: they cannot be written.
        """
        self.settings = _at(self.settings, host, port)
        replace_file(run_dir / "settings.json", msgspec.json.encode(self.settings))
        replace_file(run_dir / "groups.json", groups)
        self._run_dir = run_dir

    def reload_settings(self) -> bool:
        """Read the settings again; tell whether others hold now."""
        path = self._sources.config
        if path is None:
            logger.info("settings.not_reloaded", reason="there is no settings file, see --config")
            return False
        try:
            asked, changed, needs_restart = apply_live(self._asked, self._sources.load())
            server = self.settings.server
            settings = _at(asked, server.host, server.port)
            if changed and self._run_dir:
                replace_file(self._run_dir / "settings.json", msgspec.json.encode(settings))
        except RelayError as error:
            logger.error("settings.refused", path=path, reason=str(error), kept="the old settings")
            return False
        changes = [f"{key}: {_word(old)} -> {_word(new)}" for key, (old, new) in changed.items()]
        logger.info("settings.reloaded", path=path, changed=changes)
        if needs_restart:
            logger.warning(
                "settings.not_applied", path=path, keys=needs_restart, reason="they need a restart"
            )
        if changed:
            self._asked, self.settings = asked, settings
        return bool(changed)

    def reload_groups(self) -> bool:
        """Read the groups again; tell whether the children are to read their copy again."""
        if not self._run_dir:
            return False  # the file has yet to be read for the first time
        if not self.settings.server.groups:
            logger.info("groups.not_reloaded", reason="there is no groups file, see --groups")
            return False
        try:
            groups = self._read_groups()
            replace_file(self._run_dir / "groups.json", dump_groups(groups))
        except RelayError as error:
            logger.error("groups.refused", reason=str(error), kept="the old groups")
            return False
        before, self._groups = self._groups, _hashes(groups)
        changes = group_changes(before, self._groups)
        logger.info(
            "groups.reloaded",
            path=self.settings.server.groups,
            groups=len(groups),
            **{kind: len(names) for kind, names in changes._asdict().items()},
            # Of many the log shows the first.
            names=[f"{kind} {n}" for kind, names in changes._asdict().items() for n in names],
        )
        return True

    def _read_groups(self) -> dict[str, Group]:
        path = self.settings.server.groups
        limit = self.settings.limits.group_members
        return load_groups(Path(path), max_members=limit) if path else {}


class GroupChanges(NamedTuple):
    """The jids of the groups that differ between two files."""

    added: list[str]
    removed: list[str]
    changed: list[str]


def group_changes(before: Mapping[str, int], after: Mapping[str, int]) -> GroupChanges:
    """Return how `after` differs from `before`, each with a hash of a group by local part."""
    return GroupChanges(
        added=[group_jid(local) for local in after if local not in before],
        removed=[group_jid(local) for local in before if local not in after],
        changed=[
            group_jid(local) for local in after if local in before and after[local] != before[local]
        ],
    )


def _hashes(groups: Mapping[str, Group]) -> dict[str, int]:
    return {local: hash(group) for local, group in groups.items()}


def _at(settings: Settings, host: str, port: int) -> Settings:
    server = msgspec.structs.replace(settings.server, host=host, port=port)
    return msgspec.structs.replace(settings, server=server)


def _word(value: object) -> str:
    """Spell a setting as in the file, a text without its quotes."""
    return value if isinstance(value, str) else json.dumps(value)
