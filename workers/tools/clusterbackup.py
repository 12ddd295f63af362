"""`relay cluster backup`: a copy of all ranges of a cluster, as of one moment, while it serves.

Each range's store is on another host, and copies of them are made one after another. So each is
brought forward by the range's log then, to where all logs end just now. What the ranges have told
each other must fit, as in any backup (`workers.tools.backup`): one that lacks what another knows of
it is brought forward record by record until it does. That ends: what is lacking was in its log
before anybody could know of it, so before the logs' ends were read.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import click

import relay
from relay.clock import clock_ms
from relay.cluster.backups import (
    Manifest,
    RangeEnd,
    checksum_of,
    part_of,
    write_manifest,
)
from relay.cluster.caller import Caller
from relay.cluster.fetching import NoCopy, Reading
from relay.cluster.jetstream import ApiError, NoMajority, Stored, get_batch, stream_info
from relay.cluster.natswire import Wire, WireLost
from relay.cluster.requests import ClusterStatus, RangeStatus
from relay.cluster.shared import MADE_BY_API, PATHS, SharedDamaged, read_kept
from relay.cluster.transfers import Copied
from relay.cluster.view import CAUGHT_UP_RECORDS
from relay.disk.files import free_bytes, replace_file, sync, take_lock
from relay.disk.layout import Layout, generation_directory
from relay.errors import BackupFailed, BootError, LogDamaged, LogLostData, StoreDamaged
from relay.process.descriptors import raise_limit
from relay.settings.tables import Settings
from workers.store.moment import find_gaps
from workers.store.snapshot import Snapshot
from workers.store.storefile import FILE_NAME
from workers.tools.apart import Ended, Say, ToolRefused, interrupted
from workers.tools.backup import finish
from workers.tools.progress import Progress
from workers.tools.report import Report
from workers.tools.rolled import Rolled, TooOld
from workers.tools.stores import check_all

# An election takes up to 9 s, and a host may be making copies for others meanwhile.
_PATIENCE_S: Final = 60.0
_AGAIN_S: Final = 0.2
_ANSWER_S: Final = 2.0
_BATCH_RECORDS: Final = 256
_BATCH_BYTES: Final = 4 * 1024 * 1024
# An engine that leads hears each second of those that follow.
_HEARD_NS: Final = 3_000_000_000
# A server that has yet to get a record says that there is none.
_LAGGING_S: Final = 0.02
# A log that fills up is trimmed sooner; then what it belongs to is copied again, so often at most.
_ROUNDS: Final = 3
# Ranges that were copied follow their logs meanwhile: ten minutes of those are sure to be kept.
_KEEP_UP_S: Final = 30.0

_Result = TypeVar("_Result")


class ClusterBackup:
    """One backup that is being made, from `make` on."""

    def __init__(self, settings: Settings, to: Path, began: Say) -> None:
        """Copy the cluster of `settings` to `to`.

        `began` is told the name of each store before it is read.

        Raises:
            ToolRefused: there is something at `to`.
        """
        if to.exists():
            raise ToolRefused(f"{to} is there already")
        self._settings = settings
        self._cluster = settings.cluster
        self._to = to
        self._part = part_of(to)
        self._began = began
        self._began_s = time.monotonic()
        self._caller = Caller(self._cluster)
        self._rolled: dict[int, Rolled] = {}
        self._kept_up_s = time.monotonic()
        self._rolls = False  # while it is, no range has to keep up

    def make(self) -> Ended:
        """Make it; return what is to be said of it.

        Raises:
            BackupFailed, ToolRefused: there is none, and nothing of it is left.
        """
        raise_limit()
        with ExitStack() as held:
            held.callback(self._caller.hang_up)
            self._begin(held)
            try:
                return self._make()
            except BaseException as error:
                self._close()
                shutil.rmtree(self._part, ignore_errors=True)
                if isinstance(error, KeyboardInterrupt):
                    return interrupted("there is no backup")
                raise

    def _begin(self, held: ExitStack) -> None:
        """Have the directory to oneself, and empty."""
        part = self._part
        part.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = take_lock(part / "lock", wait_s=0)
        except BootError:
            raise ToolRefused(f"{part} is being written by another backup") from None
        held.callback(os.close, lock)
        for path in part.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()

    def _make(self) -> Ended:
        self._fetch_all()
        self._bring_to_one_moment()
        files = self._take_shared()
        layout, ends = self._write_stores()
        report = Report()
        check_all(self._part, layout, report, lambda name: self._began(f"the copy of {name}"))
        write_manifest(
            self._part,
            Manifest(
                cluster=self._cluster.name,
                made_ms=clock_ms(),
                version=relay.__version__,
                ranges=tuple(ends),
                files=files,
            ),
        )
        finish(layout, self._part)
        (self._part / "lock").unlink()
        if self._to.exists():
            raise ToolRefused(f"{self._to} is there by now; the backup is {self._part}")
        self._part.rename(self._to)
        sync(self._to.parent)
        size = sum(end.size for end in ends)
        took_s = time.monotonic() - self._began_s
        note = (
            f"{self._to} is a backup of {self._cluster.name}: {len(ends)} ranges, {size:,} bytes,"
            f" in {took_s:.1f} s"
        )
        if report.total:
            note += ", with all that is wrong with them"
        return Ended(report, note, {"bytes": size, "ranges": len(ends)})

    # --------------------------------------------------------------------------------- the copies

    def _fetch_all(self) -> None:
        ranges = range(self._cluster.ranges)
        for _ in range(_ROUNDS):
            for range_ in ranges:
                if range_ not in self._rolled:
                    self._fetch(range_)
            if len(self._rolled) == len(ranges):
                return
        raise BackupFailed("logs are trimmed sooner than all ranges can be copied: they are full")

    def _fetch(self, range_: int) -> None:
        """Have a copy of a range, which follows its log."""
        until_s = time.monotonic() + _PATIENCE_S
        began_s = time.monotonic()
        reason = "no host says that it has a store of it"
        while True:
            for host in self._holders(range_):
                try:
                    copied = self._fetch_from(range_, host)
                except (NoCopy, TooOld) as error:
                    reason = f"host {host}: {error}"
                    continue
                self._say(
                    f"range {range_}: {copied.size:,} bytes of host {host}, up to record"
                    f" {self._rolled[range_].number}, {time.monotonic() - began_s:.1f} s;"
                    f" {range_ + 1} of {self._cluster.ranges} ranges"
                )
                return
            if time.monotonic() >= until_s:
                raise BackupFailed(f"range {range_} cannot be copied: {reason}")
            time.sleep(_AGAIN_S)

    def _holders(self, range_: int) -> list[str]:
        """Return who has a range: standbys first, as owners have other work."""
        try:
            said = self._caller.statuses()
        except click.ClickException as error:
            raise BackupFailed(error.format_message()) from None
        status = next((each for each in said.values() if each.has_majority), None)
        if status is None:
            return []
        return list(holders_of(status, range_, begins_behind=self._cluster.begins(range_)))

    def _fetch_from(self, range_: int, host: str) -> Copied:
        reading = Reading(
            self._ask,
            cluster=self._cluster.name,
            range_=range_,
            on_wait=self._keep_up,
        )
        directory = self._directory(range_)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, parents=True)
        copied = reading.wait_for_copy(host)
        # It is written once more, when it has been brought forward.
        if (free := free_bytes(directory)) < 2 * copied.size:
            raise BackupFailed(
                f"range {range_}: {self._part} has {free:,} bytes free, and {2 * copied.size:,} are"
                " needed"
            )
        progress = Progress(f"range {range_}", copied.size)
        reading.read(host, copied, directory / FILE_NAME, on_bytes=progress.advance)
        progress.end()
        try:
            reading.let_go(host, copied)
        except NoCopy:
            pass  # it lets it go by itself
        self._began(f"range {range_}")
        store = self._settings.store
        try:
            rolled = Rolled(
                directory,
                begins_behind=self._cluster.begins(range_),
                map_bytes=store.map_bytes,
                max_map_bytes=store.max_map_bytes,
            )
        except BootError as error:
            raise NoCopy(f"its copy is not whole: {error}") from None
        self._rolled[range_] = rolled
        try:
            self._roll(range_, self._last(range_))
        except BaseException:
            del self._rolled[range_]
            rolled.close()
            raise
        return copied

    def _keep_up(self) -> None:
        """Bring forward what is copied, before the logs are trimmed; else it is copied again."""
        if self._rolls or time.monotonic() - self._kept_up_s < _KEEP_UP_S:
            return
        for range_ in list(self._rolled):
            try:
                self._roll(range_, self._last(range_))
            except TooOld as error:
                self._say(f"range {range_}: {error}; it is copied again")
                self._rolled.pop(range_).close()
        self._kept_up_s = time.monotonic()

    def _bring_to_one_moment(self) -> None:
        """Bring all forward to where the logs end, and as far as they must to fit."""
        self._say("bringing all ranges to one moment")
        ends = {range_: self._last(range_) for range_ in self._rolled}
        for range_, end in ends.items():
            self._roll_to_end(range_, end)
        while older := {gap.older for gap in find_gaps(self._rolled)}:
            ends = {range_: self._last(range_) for range_ in older}
            further = [each for each in older if self._rolled[each].number < ends[each]]
            if not further:
                return  # a store has lost what it had: the check says so
            for range_ in further:
                self._roll_to_end(range_, self._rolled[range_].number + 1)

    def _roll_to_end(self, range_: int, to: int) -> None:
        try:
            self._roll(range_, to)
        except TooOld as error:
            raise BackupFailed(f"range {range_}: its log was trimmed too soon: {error}") from None

    def _roll(self, range_: int, to: int) -> None:
        """Bring a range forward up to record `to`, which is in its log."""
        rolled = self._rolled[range_]
        self._rolls = True
        try:
            until_s = time.monotonic() + _PATIENCE_S
            while rolled.next <= to:
                for record in self._read(range_, rolled.next, to):
                    until_s = time.monotonic() + _PATIENCE_S
                    rolled.take(record)
                rolled.fold()
                if time.monotonic() >= until_s:
                    raise BackupFailed(
                        f"range {range_}: its log does not give record {rolled.next}"
                    )
        except (LogLostData, LogDamaged, StoreDamaged) as error:
            raise BackupFailed(f"range {range_}: {error}") from None
        finally:
            self._rolls = False

    def _read(self, range_: int, first: int, last: int) -> list[Stored]:
        count = min(_BATCH_RECORDS, last - first + 1)
        stream = f"{self._cluster.name}-{range_}"

        def read(wire: Wire) -> list[Stored]:
            return get_batch(wire, stream, first, count, _BATCH_BYTES, _ANSWER_S)

        records = self._of_engine(f"range {range_}", read)
        if not records:
            time.sleep(_LAGGING_S)
        return records

    def _last(self, range_: int) -> int:
        """Return the last record of a log, no older than what was acked by now."""
        stream = f"{self._cluster.name}-{range_}"
        return self._of_engine(f"range {range_}", lambda wire: last_of(wire, stream))

    # ---------------------------------------------------------------------------------- the files

    def _take_shared(self) -> dict[str, str]:
        """Write what operators have made on all hosts; return the checksums."""
        files = {}
        for key in MADE_BY_API:
            try:
                read = partial(read_kept, cluster=self._cluster.name, key=key, timeout_s=_ANSWER_S)
                kept = self._of_engine(key, read)
            except SharedDamaged as error:
                raise BackupFailed(str(error)) from None
            if kept.content is not None:
                path = PATHS[key](self._part)
                replace_file(path, kept.content)
                files[key] = checksum_of(path)
        return files

    def _write_stores(self) -> tuple[Layout, list[RangeEnd]]:
        """Write each range's store as one file, as of its last record."""
        layout: Layout | None = None
        ends = []
        for range_, rolled in sorted(self._rolled.items()):
            rolled.close()
            self._began(f"range {range_}")
            try:
                snapshot = Snapshot(self._directory(range_))
                try:
                    mark = snapshot.mark()
                    generation = mark.generation if mark else 0
                    layout = layout or Layout(generation=generation, workers=self._cluster.ranges)
                    to = layout.store_directory(self._part, range_)
                    to.mkdir(mode=0o700, parents=True)
                    snapshot.copy(to)
                    number = snapshot.last.number
                finally:
                    snapshot.close()
            except StoreDamaged as error:
                raise BackupFailed(f"range {range_}: its copy is damaged: {error}") from None
            if number != rolled.number:
                raise BackupFailed(
                    f"range {range_}: its copy ends with record {number}, not {rolled.number}"
                )
            file = to / FILE_NAME
            file.chmod(0o600)
            sync(file)
            sync(to)
            shutil.rmtree(self._directory(range_))
            end = RangeEnd(number, rolled.epoch, file.stat().st_size, checksum_of(file))
            ends.append(end)
        assert layout is not None, "there are ranges"
        self._rolled.clear()
        (self._part / "rolled").rmdir()
        sync(generation_directory(self._part, layout.generation))
        return layout, ends

    def _directory(self, range_: int) -> Path:
        return self._part / "rolled" / f"range-{range_}"

    def _close(self) -> None:
        for rolled in self._rolled.values():
            rolled.close()

    # --------------------------------------------------------------------------------- the engines

    def _ask(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        """Ask an agent, as `relay.cluster.fetching.Ask`."""
        try:
            answer = self._caller.wire().request(subject, payload, timeout_s=timeout_s)
        except WireLost as error:
            self._caller.hang_up()
            raise TimeoutError(str(error)) from None
        except click.ClickException as error:
            time.sleep(_AGAIN_S)
            raise TimeoutError(error.format_message()) from None
        if answer.status:
            raise TimeoutError(f"nobody listens on {subject}")
        return answer.payload

    def _of_engine(self, what: str, ask: Callable[[Wire], _Result]) -> _Result:
        """Return what an engine answers, be it after an election."""
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return ask(self._caller.wire())
            except WireLost as error:
                self._caller.hang_up()
                reason = str(error)
            except (TimeoutError, ApiError) as error:
                reason = str(error)
            except click.ClickException as error:
                reason = error.format_message()
            if time.monotonic() >= until_s:
                raise BackupFailed(f"{what}: {reason}")
            time.sleep(_AGAIN_S)

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def last_of(wire: Wire, stream: str) -> int:
    """Return the last record of a log, as a leader has it whom a majority follows just now.

    One that is cut off answers, too, for some seconds. But nobody leads in its place, and acks, as
    long as a majority has heard of it: they wait 4 s at least.

    Raises:
        NoMajority: the leader has not heard of one lately.
    """
    info = stream_info(wire, stream, _ANSWER_S)
    replicas = info.cluster.replicas
    heard = 1 + sum(each.active < _HEARD_NS and not each.offline for each in replicas)
    if 2 * heard <= info.config.num_replicas:
        raise NoMajority(0, f"who leads {stream} hears of {heard} of its copies alone")
    return info.state.last_seq


def holders_of(status: ClusterStatus, range_: int, *, begins_behind: int) -> Iterator[str]:
    """Yield the hosts that have a range's store, those first that are to be asked first."""
    found = status.ranges[range_] if range_ < len(status.ranges) else RangeStatus()
    least = max(begins_behind, found.last - CAUGHT_UP_RECORDS)
    standing: Mapping[str, int] = found.standing
    ready = [host for host, number in standing.items() if number >= least and host != found.owner]
    yield from sorted(ready, key=lambda host: -standing[host])
    if found.owner:
        yield found.owner
