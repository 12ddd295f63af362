"""The settings and groups that hold, and SIGHUP, which has them read again.

The children get copies: what was refused here never gets to them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from relay import log
from relay.auth.tls import warnings_of
from relay.disk.accord import Accord, given_groups
from relay.disk.files import replace_file
from relay.disk.groupfile import Group, load_groups, pack_groups, unpack_groups
from relay.disk.layout import groups_path
from relay.errors import RelayError
from relay.extensions.registry import tables_of
from relay.process.control import Outcome
from relay.process.memo import read_memo, write_memo
from relay.protocol.jid import group_jid
from relay.settings.catalogue import flag_of
from relay.settings.commandline import Sources
from relay.settings.reload import Reload, apply_live
from relay.settings.rows import Table
from relay.settings.sharing import with_files
from relay.settings.tables import Settings
from relay.settings.wanted import WorkersWanted, read_wanted, wanted_path

logger = log.get_logger()


class Report(NamedTuple):
    """What a reload has done, a line each."""

    taken: list[str]
    refusals: list[str]


class InForce:
    """The settings and groups that hold, where they come from, and the copies for the children.

    The copies are in memory: what a child needs for its start no one can clean up. A file that is
    refused changes nothing, and leaves a line in the log that says why.
    """

    def __init__(self, sources: Sources, settings: Settings) -> None:
        """Begin with `settings`, which were loaded from `sources`."""
        self._sources = sources
        self.asked = settings  # as the sources had them; in a cluster what is shared as all have it
        self.accord: Accord | None = None  # of the cluster that holds here, if any
        # A hash of each group, since the groups themselves may take more memory than all the rest.
        self._groups: dict[str, int] = {}
        self.settings = settings  # the same, with the host and port that were found for them
        self._placed: Mapping[str, Sequence[str]] = {}  # files that are to be read elsewhere
        self.groups_memo: int | None = None  # the descriptor, once the file was read
        self.report = Report([], [])

    def take_report(self) -> Report:
        """Return what became of the files since this was asked last."""
        report, self.report = self.report, Report([], [])
        return report

    def load_groups(self) -> None:
        """Read the groups file.

        Raises:
            SettingsError: the file is unusable.
        """
        groups = self.read_groups()
        self._groups = _hashes(groups)
        self._keep(groups)

    def take_over(self, groups_memo: int) -> None:
        """Go on with the groups that a predecessor has read."""
        self.groups_memo = groups_memo
        self._groups = _hashes(unpack_groups(read_memo(groups_memo)))

    def found(self, host: str, port: int) -> None:
        """Have the settings tell where the relay listens."""
        self.settings = _at(self.settings, host, port)

    def write_settings_memo(self) -> int:
        """Return the descriptor of a memo of the settings, which is the caller's.

        Raises:
            OSError: there is no memory or no descriptor for it.
        """
        return write_memo("settings", msgspec.json.encode(self.settings))

    def _keep(self, groups: Mapping[str, Group]) -> None:
        fd = write_memo("groups", pack_groups(groups))
        if self.groups_memo is not None:
            os.close(self.groups_memo)
        self.groups_memo = fd

    def reload_settings(self) -> bool:
        """Read the settings again; tell whether others hold now."""
        if self._sources.config is None:
            logger.info("settings.not_reloaded", reason="there is no settings file, see --config")
            return False
        try:
            found = self.judge(self.load())
        except RelayError as error:
            self.refuse(str(error))
            return False
        return self.adopt(found)

    @property
    def extensions(self) -> Mapping[str, type[Table]]:
        """The tables of the extensions that run, by name."""
        return tables_of(self.asked.server.extensions)

    def load(self) -> Settings:
        """Return what the sources say now.

        Raises:
            SettingsError: a mistake is in them.
        """
        return self._sources.load(tables_of)

    def place_of(self, key: str) -> str:
        """Return where the sources say a setting: an option, or the file."""
        if key in self._sources.options:
            return flag_of(key)
        return str(self._sources.config or "default")

    def judge(self, wanted: Settings) -> Reload:
        """Return what would become of other settings.

        Raises:
            SettingsError: they are refused.
        """
        found = apply_live(self.asked, wanted, self.extensions)
        warnings_of(found.settings.tls)  # it refuses those that are unusable
        return found

    def refuse(self, reason: str) -> None:
        """Say that the settings that were read do not hold, and why."""
        path = self._sources.config
        logger.error("settings.refused", path=path, reason=reason, kept="the old settings")
        self.report.refusals.append(f"the settings were refused: {reason}")

    def begin_with(self, settings: Settings, accord: Accord) -> None:
        """Have the settings of an accord hold from the start, before anything was found."""
        self.asked = self.settings = settings
        self.accord = accord

    def place(self, files: Mapping[str, Sequence[str]]) -> None:
        """Have the children read those files in place of the ones that the settings name."""
        self._placed = files
        self.settings = with_files(self.settings, files)

    def adopt(self, found: Reload, *, place: str = "") -> bool:
        """Have other settings hold; tell whether they differ from those of before.

        `place` says where they are from, if that is not the settings file.
        """
        path, (asked, changed, needs_restart) = place or self._sources.config, found
        changes = [f"{key}: {_word(old)} -> {_word(new)}" for key, (old, new) in changed.items()]
        logger.info("settings.reloaded", path=path, changed=changes)
        self.report.taken.append(f"settings: {len(changes)} changed")
        if needs_restart:
            self.report.taken.append(f"for a restart: {', '.join(needs_restart)}")
            logger.warning(
                "settings.not_applied", path=path, keys=needs_restart, reason="they need a restart"
            )
        if changed:
            server = self.settings.server
            found_at = _at(asked, server.host, server.port)
            self.asked, self.settings = asked, with_files(found_at, self._placed)
        return bool(changed)

    def reload_groups(self) -> bool:
        """Read the groups again; tell whether others hold now."""
        if self.groups_memo is None:
            return False  # the file has yet to be read for the first time
        if not self.names_groups:
            if self._sources.config is None:  # else the signal was for that file
                logger.info("groups.not_reloaded", reason="there is no groups file, see --groups")
            return False
        try:
            return self.keep_groups(self.read_groups())
        except (RelayError, OSError) as error:
            logger.error("groups.refused", reason=str(error), kept="the old groups")
            self.report.refusals.append(f"the groups were refused: {error}")
            return False

    @property
    def names_groups(self) -> bool:
        """Whether there is anything that could say which groups there are."""
        has_accord = self.accord is not None and self.accord.groups is not None
        return bool(self.settings.server.groups or has_accord or self._made_path.exists())

    def keep_groups(self, groups: Mapping[str, Group]) -> bool:
        """Have those groups hold; tell whether they differ from those of before.

        Raises:
            OSError: there is no memory or no descriptor for them; the old ones hold.
        """
        before, after = self._groups, _hashes(groups)
        changes = group_changes(before, after)
        if before != after:
            self._keep(groups)
        self._groups = after
        self.report.taken.append(
            "groups: "
            + ", ".join(f"{len(names)} {kind}" for kind, names in changes._asdict().items())
        )
        logger.info(
            "groups.reloaded",
            path=self.settings.server.groups,
            groups=len(groups),
            **{kind: len(names) for kind, names in changes._asdict().items()},
            # Of many the log shows the first.
            names=[f"{kind} {n}" for kind, names in changes._asdict().items() for n in names],
        )
        return before != after

    def want_workers(self, number: int, workers: int) -> Outcome:
        """Have so many workers from the next start on, durably; say what came of that wish."""
        runs = self.settings.server.workers
        if self.settings.cluster.is_on:
            refusal = f"a cluster has its {runs} ranges for good: `relay cluster move` moves them"
            return Outcome(number, "failed", refusal)
        if self._sources.sets_workers:
            refusal = "the command line says how many workers there are: change it there"
            return Outcome(number, "failed", refusal)
        path = wanted_path(Path(self.settings.server.data))
        try:
            said = self._sources.draft(tables_of).checked().server.workers
            wanted = WorkersWanted(workers, said)
            if workers == said:
                path.unlink(missing_ok=True)
            elif read_wanted(path.parent) != wanted:
                replace_file(path, msgspec.json.encode(wanted))
        except (RelayError, OSError) as error:
            return Outcome(number, "failed", str(error))
        logger.info("workers.wanted", workers=workers, runs=runs, settings=said)
        if workers == runs:
            return Outcome(number, "done", f"{workers} workers run, and stay")
        return Outcome(number, "done", f"{runs} workers run; from the next start on {workers}")

    def read_groups(self) -> dict[str, Group]:
        """Return all groups: the operator's, and those that were made through the admin.

        Raises:
            SettingsError: a file is unusable.
        """
        limit = self.settings.limits.group_members
        given = given_groups(self.settings.server.groups, self.accord, max_members=limit)
        made = self._made_path
        if made.exists():
            return {**load_groups(made, max_members=limit), **given}  # the operator's own counts
        return dict(given)

    @property
    def _made_path(self) -> Path:
        return groups_path(Path(self.settings.server.data))


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
