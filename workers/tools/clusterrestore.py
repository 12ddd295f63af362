"""`relay cluster restore`: a backup of a cluster, given to hosts that begin.

They have the file that `relay cluster init --backup` wrote. By that their logs begin behind the
last record of each range in the backup, and a standby whose store ends before that asks all for a
copy, as it would whose log was trimmed. Nobody has one but this: it hands out the backup's stores,
until each range is owned and enough hosts stand by. So there is no moment at which a range could
begin empty, and where this is killed it is run again.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import click

from relay.cluster.backups import (
    BackupUnusable,
    Manifest,
    layout_of,
    part_of,
    read_manifest,
    stores_of,
    verify,
)
from relay.cluster.caller import Caller
from relay.cluster.chores import configs_of, require_origin
from relay.cluster.jetstream import (
    ApiError,
    NoMajority,
    NoStream,
    StreamDiffers,
    WrongLastSequence,
    kv_put,
    stream_info,
)
from relay.cluster.names import agent_of, copies_of
from relay.cluster.natswire import Message, Wire, WireLost
from relay.cluster.requests import (
    ClusterStatus,
    RequestUnreadable,
    StatusAsked,
    decode_answer,
    encode,
)
from relay.cluster.shared import MADE_BY_API, PATHS, SharedDamaged, read_kept
from relay.cluster.shelf import SHELF, Shelf, Shelved
from relay.cluster.transfers import Copied
from relay.disk.files import sync
from relay.disk.layout import generation_directory
from relay.errors import RelayError
from relay.settings.clustering import ClusterSettings
from workers.store.environment import open_environment
from workers.store.journal import FOLDED_NAME, LOG_NAME, TAIL_NAME
from workers.store.schema import MAX_TREES
from workers.store.storefile import FILE_NAME
from workers.tools.apart import Ended, Say, ToolRefused
from workers.tools.backup import copy_files, finish
from workers.tools.progress import Progress
from workers.tools.report import Report
from workers.tools.stores import check_all

_ANSWER_S: Final = 2.0
_AGAIN_S: Final = 0.5
# How the ranges are is asked, and how far it is said, so often.
_LOOK_S: Final = 1.0
# Where all are owned, standbys take no longer, unless a host that is to have some is not there.
_SAFE_S: Final = 60.0
_SAY_S: Final = 5.0
_RECEIVE_S: Final = 0.2


class NotRestored(RelayError):
    """Not all of it is restored; the message says what is. It may be run again."""


class Reached(NamedTuple):
    """How many ranges are restored so far."""

    owned: frozenset[int]
    safe: frozenset[int]  # of these: enough hosts stand by with a copy


def prepared(backup: Path, cluster: ClusterSettings, path: Path) -> Manifest:
    """Return what a backup says of itself, whose every file is whole, and of the ranges of `path`.

    Raises:
        BackupUnusable: it is not so; nothing was done.
    """
    manifest = read_manifest(backup)
    require_agreement(manifest, cluster, backup, path)
    _verify(backup, manifest)
    return manifest


def _verify(backup: Path, manifest: Manifest) -> None:
    progress = Progress("verified", sum(end.size for end in manifest.ranges))
    verify(backup, manifest, on_bytes=progress.advance)
    progress.end()


def require_agreement(
    manifest: Manifest, cluster: ClusterSettings, backup: Path, path: Path
) -> None:
    """Make sure that the hosts of the file `path` begin where a backup ends.

    Raises:
        BackupUnusable: they do not.
    """
    count = len(manifest.ranges)
    how = f"write a new file with `relay cluster init NAME=HOST... --backup {backup}`"
    if cluster.ranges != count:
        raise BackupUnusable(
            f"{backup} has {count} ranges, and by {path} there are {cluster.ranges}: {how}, of as"
            " many hosts as you like"
        )
    if not cluster.begins_behind:
        raise BackupUnusable(f"{path} is of hosts that begin empty: {how}, and start them with it")
    if cluster.begins_behind != manifest.numbers:
        raise BackupUnusable(
            f"{path} is of hosts that take over from another backup than {backup}: {how}"
        )


class ClusterRestore:
    """One backup that is handed out, from `run` on."""

    def __init__(
        self, backup: Path, manifest: Manifest, cluster: ClusterSettings, *, within_s: float
    ) -> None:
        """Hand out what was `prepared`; give up where nothing more comes about for `within_s`."""
        self._backup = backup
        self._manifest = manifest
        self._cluster = cluster
        self._within_s = within_s
        self._moved_s = time.monotonic()
        self._shelf = Shelf(
            {
                range_: Shelved(path, Copied(end.number, end.size))
                for range_, (path, end) in enumerate(
                    zip(stores_of(backup, manifest), manifest.ranges, strict=True)
                )
            }
        )
        self._reached = Reached(frozenset(), frozenset())
        self._asked: set[str] = set()  # inboxes for answers of agents
        self._asks_s = self._says_s = 0.0
        self._said = ""
        self._sids: set[int] = set()

    def run(self) -> frozenset[int]:
        """Return once all is restored; the ranges of which nobody stands by are returned.

        Raises:
            NotRestored: it is not, and nothing has come about for long.
            BackupUnusable: the hosts have other logs than it is for.
        """
        with Caller(self._cluster) as caller:
            self._patiently(caller, self._await_logs)
            self._patiently(caller, self._give_shared)
            self._patiently(caller, self._hand_out)
        return self._reached.owned - self._reached.safe

    def _patiently(self, caller: Caller, work: Callable[[Wire], bool]) -> None:
        """Do some work until it is done, over connections that come and go."""
        while True:
            try:
                if work(caller.wire()):
                    return
                reason = ""
            except WireLost as error:
                caller.hang_up()
                self._sids.clear()
                reason = str(error)
            except StreamDiffers as error:
                raise BackupUnusable(error.description) from None
            except NoStream:
                reason = "the hosts have not made the logs yet"
            except (TimeoutError, NoMajority, ApiError, SharedDamaged) as error:
                reason = str(error)
            except click.ClickException as error:
                reason = error.format_message()
            if reason:
                self._say(f"waiting: {reason}")
                time.sleep(_AGAIN_S)
            if time.monotonic() - self._moved_s >= self._within_s:
                raise NotRestored(
                    f"{self._so_far()}, and for {self._within_s:g} s nothing more came about"
                    f"{': ' + reason if reason else ''}; it may be run again"
                )

    # ------------------------------------------------------------------------------- what is done

    def _await_logs(self, wire: Wire) -> bool:
        for config in configs_of(self._cluster):
            require_origin(stream_info(wire, config.name, _ANSWER_S), config)
        self._moved_s = time.monotonic()
        return True

    def _give_shared(self, wire: Wire) -> bool:
        """Give all hosts what they are to have alike, before anybody is served."""
        name = self._cluster.name
        for key in filter(self._manifest.files.__contains__, MADE_BY_API):
            content = PATHS[key](self._backup).read_bytes()
            kept = read_kept(wire, name, key, _ANSWER_S)
            if kept.content is None:
                with contextlib.suppress(WrongLastSequence):
                    kv_put(
                        *(wire, name, key, zlib.compress(content)), expected=0, timeout_s=_ANSWER_S
                    )
            elif kept.content != content:
                self._say(f"the {key} were changed since; they are left as they are")
        return True

    def _hand_out(self, wire: Wire) -> bool:
        """Answer who asks for a copy, for a moment; tell whether nobody has to any more."""
        if not self._sids:
            name = self._cluster.name
            self._sids = {
                wire.subscribe(copies_of(name, "*")),
                wire.subscribe(copies_of(name, "*", SHELF)),
            }
            self._asked.clear()
        now_s = time.monotonic()
        if now_s >= self._asks_s:
            self._asks_s = now_s + _LOOK_S
            self._asked.clear()  # who has not answered by now is asked again
            for host in self._cluster.addresses:
                self._asked.add(inbox := wire.new_inbox())
                subject = agent_of(self._cluster.name, host)
                wire.publish(subject, encode(StatusAsked()), reply=inbox)
        for message in wire.receive(_RECEIVE_S):
            if message.sid in self._sids:
                self._answer(wire, message)
            elif message.subject in self._asked and not message.status:
                self._learn(message)
        wire.flush()
        self._say(self._so_far())
        if len(self._reached.owned) < self._cluster.ranges:
            return False
        is_waiting = time.monotonic() - self._moved_s < min(_SAFE_S, self._within_s)
        return len(self._reached.safe) == self._cluster.ranges or not is_waiting

    def _answer(self, wire: Wire, message: Message) -> None:
        word = message.subject.split(".")[2]
        range_ = int(word) if word.isdecimal() else -1
        pieces = self._shelf.pieces
        answer = self._shelf.answer(message.payload, range_=range_)
        if answer is not None and message.reply:
            wire.publish(message.reply, answer)
        if self._shelf.pieces != pieces:
            self._moved_s = time.monotonic()

    def _learn(self, message: Message) -> None:
        try:
            status = decode_answer(message.payload)
        except RequestUnreadable:
            return
        if not isinstance(status, ClusterStatus) or not status.has_majority:
            return
        reached = reached_in(status, self._cluster)
        if reached != self._reached:
            self._reached = reached
            self._moved_s = time.monotonic()
        # Their owners hand them out, with what has come since.
        self._shelf.left = set(reached.owned)

    def _so_far(self) -> str:
        count = self._cluster.ranges
        owned, safe = len(self._reached.owned), len(self._reached.safe)
        missing = sorted(set(range(count)) - self._reached.owned)
        line = f"{owned} of {count} ranges are owned, {safe} of them with their standbys"
        if missing and owned:
            line += f"; not yet {', '.join(map(str, missing))}"
        return line

    def _say(self, line: str) -> None:
        now_s = time.monotonic()
        if line != self._said and now_s >= self._says_s:
            self._said, self._says_s = line, now_s + _SAY_S
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def reached_in(status: ClusterStatus, cluster: ClusterSettings) -> Reached:
    """Return how far hosts are, as one of them that sees a majority says it."""
    serving = sum(host.serves and host.life == "living" for host in status.hosts.values())
    standbys = min(cluster.standbys, max(0, serving - 1))
    owned, safe = set(), set()
    for range_, each in enumerate(status.ranges):
        if not each.owner:
            continue
        owned.add(range_)
        least = cluster.begins(range_)
        ready = [host for host, number in each.standing.items() if number >= least]
        if len(set(ready) - {each.owner}) >= standbys:
            safe.add(range_)
    return Reached(frozenset(owned), frozenset(safe))


# --- into a relay on one host ---


def restore_alone(backup: Path, to: Path, began: Say) -> Ended:
    """Make the data directory `to` of a backup, for a relay without [cluster].

    Raises:
        ToolRefused: it cannot be; there is none.
        OSError, lmdb.Error: the same.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ToolRefused(f"{to} is not an empty directory")
    try:
        manifest = read_manifest(backup)
        stores = stores_of(backup, manifest)
        layout = layout_of(backup)
        _verify(backup, manifest)
    except BackupUnusable as error:
        raise ToolRefused(str(error)) from None
    part = part_of(to)
    if part.exists():
        raise ToolRefused(f"{part} is there, of a restore that was not ended: remove it")
    try:
        part.mkdir(mode=0o700, parents=True)
        progress = Progress("copied", sum(end.size for end in manifest.ranges))
        for range_, file in enumerate(stores):
            began(f"range {range_}")
            directory = layout.store_directory(part, range_)
            directory.mkdir(mode=0o700, parents=True)
            shutil.copyfile(file, directory / FILE_NAME)
            forget_log(directory)
            (directory / FILE_NAME).chmod(0o600)
            sync(directory / FILE_NAME)
            sync(directory)
            progress.advance(file.stat().st_size)
        progress.end()
        sync(generation_directory(part, layout.generation))
        copy_files(backup, part)
        report = Report()
        check_all(part, layout, report, began)
        finish(layout, part)
        if to.exists():
            to.rmdir()
        part.rename(to)
        sync(to.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    note = f"{to} is a data directory for a relay without [cluster], of {layout.workers} workers"
    if report.total:
        note += ", with all that is wrong with it"
    return Ended(report, note, {"ranges": layout.workers})


def forget_log(directory: Path) -> None:
    """Have the store in `directory`, which has no journal, be one that follows no log.

    Its records begin anew, by numbers that are this relay's alone.
    """
    size = (directory / FILE_NAME).stat().st_size
    with open_environment(
        directory, map_size=2 * size + (1 << 20), max_dbs=MAX_TREES, lock=False
    ) as env:
        meta = env.open_db(b"meta", create=False)
        with env.begin(write=True) as txn:
            for key in (LOG_NAME, FOLDED_NAME, TAIL_NAME):
                txn.delete(key, db=meta)
