"""Lay the stores of a data directory out for another number of workers, before any of them starts.

    1. Hold data/reshard.lock and the lock of every store that counts, so that nothing else writes.
    2. Remove the generations that do not count: what an earlier attempt left.
    3. Build all stores of the next generation beside the present one, and sync them.
    4. Replace meta.json: from that moment on the new generation counts.
    5. Rename the old generation, so that a half removed one is not taken for whole, and remove it.

Killed before 4, the next start finds the old layout and begins again; killed after it, the next
start finds the new one and has only to remove. At no time is a store written that counts.

Building is to copy what has an owner (workers.tools.copying), and then to apply what was on its way
between two workers to its new owners (workers.tools.takeover).

The first start of a relay is a case of this: from no workers to some.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import lmdb

from relay import log
from relay.disk.files import sync, take_lock
from relay.disk.layout import Layout, discarded, leftovers, read_layout, write_layout
from relay.errors import BootError, DiskError, SettingsError, StoreDamaged
from relay.extensions.registry import Registry, of_worker
from relay.process.exitcodes import CANNOT_BOOT
from relay.process.place import read_settings
from relay.process.run import begin
from relay.settings.tables import Settings
from workers.store.meta import Mark
from workers.store.schema import rows_of
from workers.store.snapshot import Snapshot
from workers.store.store import LOCK_WAIT_S, lock_store, unusable
from workers.store.storefile import inspect_store_file
from workers.tools.compact import compact_all
from workers.tools.copying import copy
from workers.tools.plan import Reached, ReshardPlan, check_room, make_plan
from workers.tools.takeover import take_over

logger = log.get_logger()


def reshard(data: Path, settings: Settings, *, reached: Reached = lambda step: None) -> None:
    """Bring the data directory into the layout that `settings` asks for; it may have it already.

    `reached` is told each step that has been made durable, or could be lost.

    Raises:
        BootError, DiskError: one line says why it cannot be; the data are as they were.
        SettingsError: an extension cannot be loaded; the same.
    """
    workers = settings.server.workers
    registry = of_worker(settings)
    rows_of(registry.extensions.values())  # which refuses what no tree can be named
    with ExitStack() as held:
        try:
            held.callback(os.close, take_lock(data / "reshard.lock", wait_s=LOCK_WAIT_S))
        except OSError as error:
            raise BootError(f"{data} cannot be written: {error.strerror}") from None
        layout = read_layout(data)
        if not layout.generation:
            # From here on stores without a word of them in meta.json are unfinished, not orphans.
            write_layout(data, layout)
        old = [layout.store_directory(data, index) for index in range(layout.workers)]
        for directory in old:
            held.callback(os.close, lock_store(directory, wait_s=LOCK_WAIT_S))
        reached("locked")
        snapshots = [
            held.enter_context(_open(path, Mark(layout.generation, layout.workers, index)))
            for index, path in enumerate(old)
        ]
        _remove(leftovers(data, layout), reached)
        if layout.workers == workers:
            return
        if any(snapshot.follows_log for snapshot in snapshots):
            raise BootError(
                f"data directory {data} is of a host of a cluster with {layout.workers} ranges, and"
                f" cannot be laid out for {workers} workers: the other hosts have the same ranges"
            )
        check_room(data, snapshots, workers)
        started_s = time.monotonic()
        if snapshots:
            logger.info(
                "reshard.started",
                workers_before=layout.workers,
                workers=workers,
                bytes=sum(snapshot.used_bytes() for snapshot in snapshots),
            )
        plan = make_plan(
            data,
            snapshots,
            Layout(generation=layout.generation + 1, workers=workers),
            map_bytes=settings.store.map_bytes,
        )
        try:
            _build(plan, snapshots, settings, registry, reached)
        except (lmdb.Error, OSError, BootError, StoreDamaged) as error:
            shutil.rmtree(plan.generation, ignore_errors=True)
            raise BootError(
                f"data directory {data} cannot be laid out for {workers} workers: {error};"
                " nothing has changed"
            ) from error
        # Where this fails the next start sees which of the two layouts is written.
        write_layout(data, plan.layout)
        reached("committed")
        took_s = round(time.monotonic() - started_s, 1)
        logger.info("reshard.finished" if snapshots else "stores.created", took_s=took_s)
        _remove(leftovers(data, plan.layout), reached)


@contextmanager
def _open(directory: Path, mark: Mark) -> Iterator[Snapshot]:
    try:
        snapshot = Snapshot(directory)
    except (StoreDamaged, OSError) as error:
        raise unusable(directory, error) from error
    try:
        if snapshot.mark() != mark:
            raise unusable(directory, f"it is the store of {snapshot.mark()}, not of {mark}")
        yield snapshot
    finally:
        snapshot.close()


def _remove(paths: list[Path], reached: Reached) -> None:
    for path in paths:
        logger.info("reshard.removed", directory=path.name)
        aside = discarded(path)
        if aside != path:
            path.rename(aside)
            sync(path.parent)
            reached("set aside")
        shutil.rmtree(aside)
        reached("removed")


def _build(
    plan: ReshardPlan,
    snapshots: Sequence[Snapshot],
    settings: Settings,
    registry: Registry,
    reached: Reached,
) -> None:
    plan.generation.mkdir(mode=0o700)
    copy(plan, snapshots, reached)
    take_over(plan, snapshots, settings, registry, reached)
    reached("taken over")
    for directory in plan.directories:
        inspect_store_file(directory)  # before the old ones go, with the eyes of a start
        sync(directory)
    sync(plan.generation)
    sync(plan.data)
    reached("synced")


# --- the process ---


def main() -> int:
    """Re-shard as the settings of the supervisor say; return the exit code."""
    parser = argparse.ArgumentParser(description="Started by supervisor.py, not by hand.")
    parser.add_argument("--settings-fd", type=int, required=True)
    given = parser.parse_args()
    begin()
    settings = read_settings(given.settings_fd)
    log.configure(settings.log.format, settings.log.level, process="reshard", pid=os.getpid())
    threading.Thread(target=_end_with_the_supervisor, daemon=True).start()
    try:
        data = Path(settings.server.data)
        was_laid_out = read_layout(data).workers == settings.server.workers
        reshard(data, settings)
        # What has just been laid out has nothing free inside.
        if settings.store.compact and was_laid_out:
            compact_all(data)
    except OSError as error:
        logger.error("process.cannot_boot", reason=f"a store cannot be compacted: {error.strerror}")
        return CANNOT_BOOT
    except (BootError, DiskError, SettingsError) as error:
        logger.error("process.cannot_boot", reason=str(error))
        return CANNOT_BOOT
    return 0


def _end_with_the_supervisor() -> None:
    # Its end of the pipe closes when it is gone. To be killed at any point is what we are made for.
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
