"""`relay store`: what changes the stores of a data directory by an operator's hand."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import click
import msgspec

from relay.disk.files import take_lock
from relay.disk.layout import Layout, meta_path, read_layout
from relay.errors import BootError, JidError, NotFolded, StoreDamaged, StoreWriteError
from relay.protocol.jid import parse_user
from workers.store.meta import Mark
from workers.store.orders import Order, OrderFile, Purged
from workers.store.snapshot import Snapshot
from workers.store.store import LOCK_WAIT_S, unusable
from workers.tools import compact as compacting
from workers.tools import purge as purging
from workers.tools.apart import FAULTY, Ended, Say, ToolRefused, interrupted, run
from workers.tools.compact import Compacted
from workers.tools.progress import Progress

_PATH: Final = click.Path(path_type=Path)
_AGE: Final = re.compile(r"(\d+)([smhd])")
_UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# How long a relay that runs may take to look for an order: a sweep, or a worker's restart.
_ANSWER_S: Final = 30.0
_POLL_S: Final = 0.1

_Result = TypeVar("_Result")

EPILOG: Final = """\
\b
exit codes:
  0 done   1 a store is damaged, or not all could be done   2 bad usage, or DIR cannot be used
  130 interrupted
"""


@click.command(short_help="give the disk back what is free inside the stores", epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option("--dry-run", is_flag=True, help="say what it would give back; the relay may run")
@click.pass_context
def compact(context: click.Context, directory: Path, dry_run: bool) -> int:
    """Give the disk back what is free inside the stores of the data directory DIR.

    A store's file never shrinks by itself: what was freed in it is used again. Each is copied
    without that and replaced, one after another, so there must be room for what is live in the
    largest. It may be killed at any time: a store is either as it was or compacted.

    The relay must not run. `relay serve --compact` does the same before it serves.
    """
    return run(context, directory, lambda began: _compact(directory, dry_run, began), _tell)


@click.command(short_help="throw away what is of a user, or waits too long", epilog=EPILOG)
@click.argument("directory", metavar="DIR", type=_PATH)
@click.option("--user", metavar="JID", help="the mailbox of JID, and what is known of its messages")
@click.option(
    "--older-than", "age", metavar="AGE", help="all that waits longer than AGE: 7d, 12h, 30m, 90s"
)
@click.option("--dry-run", is_flag=True, help="count, and change nothing")
@click.option("--workers", "only", hidden=True)  # relay.admin.purging: those that are owned here
@click.pass_context
def purge(
    context: click.Context,
    directory: Path,
    user: str | None,
    age: str | None,
    dry_run: bool,
    only: str | None,
) -> int:
    """Throw away messages and receipts that wait in the data directory DIR, for good.

    The relay may run: then its workers do it, a little at a time. It is the one way by which
    something that was acked does not arrive, and nobody is told.

    \b
    --user JID        messages and receipts that wait for JID, and the records by which repeats of
                      messages to JID are recognised: one that is sent again counts as new. What JID
                      has sent stays, and so does what an extension keeps.
    --older-than AGE  messages and receipts that wait longer than AGE, of everybody. Repeats of them
                      are recognised as before.

    Send one `--dry-run` before: it counts exactly what would go.
    """
    order = _order(user, age)
    if only is not None:
        order = msgspec.structs.replace(order, workers=[*map(int, only.split(","))])
    return run(context, directory, lambda began: _purge(directory, order, dry_run, began), _tell)


def _tell(ended: Ended) -> None:
    click.echo(ended.note)


def _order(user: str | None, age: str | None) -> Order:
    if (user is None) == (age is None):
        raise click.UsageError("give either --user or --older-than")
    if user is not None:
        try:
            return Order(user=parse_user(user))
        except JidError as error:
            raise click.UsageError(f"--user {user}: {error}") from None
    found = _AGE.fullmatch(age or "")
    if not found:
        raise click.UsageError(f"--older-than {age}: it is a number and a unit: 7d, 12h, 30m, 90s")
    return Order(older_than_ms=int(found[1]) * _UNITS_MS[found[2]])


# --- compact ---


def _compact(data: Path, dry_run: bool, began: Say) -> Ended:
    layout = _layout(data)
    if dry_run:
        would = [
            _of_store(data, layout, index, began, compacting.estimate)
            for index in range(layout.workers)
        ]
        return Ended(note=_compacted_text(data, would, "would give back about"))
    done: list[Compacted] = []
    try:
        with _held(data):
            for index, mark in enumerate(_marks(layout)):
                work = partial(compacting.compact, mark=mark)
                done.append(_of_store(data, layout, index, began, work))
    except KeyboardInterrupt:
        return interrupted(f"so far\n{_compacted_text(data, done, 'gave back')}")
    return Ended(note=_compacted_text(data, done, "gave back"))


def _compacted_text(data: Path, stores: list[Compacted], what: str) -> str:
    lines = [
        f"worker-{index}: {store.before:,} bytes on the disk, {store.after:,} of a compacted store"
        for index, store in enumerate(stores)
    ]
    total = sum(max(0, store.before - store.after) for store in stores)
    return "\n".join([*lines, f"{data}: {what} {total:,} bytes"])


# --- purge ---


def _purge(data: Path, order: Order, dry_run: bool, began: Say) -> Ended:
    layout = _layout(data)
    workers = purging.owners(order, layout)
    if dry_run:
        found = {index: _foresee(data, layout, index, order, began) for index in workers}
        return _purged_end(data, order, found, "would go")
    done: dict[int, Purged] = {}
    problems: list[str] = []
    try:
        with _held(data):
            for index in workers:
                done[index] = Purged()
                try:
                    _purge_store(data, layout, index, order, done[index], began)
                except (NotFolded, StoreWriteError) as error:
                    problems.append(f"worker-{index}: {error}")
    except _Runs:
        return _have_purged(data, order, workers, began)
    except KeyboardInterrupt:
        return interrupted(_so_far(data, order, done))
    if problems:
        note = "\n".join([_purged_text(data, order, done, "are gone"), *problems])
        return Ended(error=f"not all could be done; so far\n{note}", exit_code=FAULTY)
    return _purged_end(data, order, done, "are gone")


def _foresee(data: Path, layout: Layout, index: int, order: Order, began: Say) -> Purged:
    def look(path: Path) -> Purged:
        snapshot = Snapshot(path)
        try:
            progress = Progress(f"counting worker-{index}", purging.size_of(snapshot, order))
            purged = purging.foresee(snapshot, order, progress)
            progress.end()
            return purged
        finally:
            snapshot.close()

    return _of_store(data, layout, index, began, look)


def _purge_store(
    data: Path, layout: Layout, index: int, order: Order, purged: Purged, began: Say
) -> None:
    total = _foresee(data, layout, index, order, began).entries

    def work(path: Path) -> None:
        progress = Progress(f"purging worker-{index}", total)
        try:
            purging.purge(path, _marks(layout)[index], order, purged, progress)
        finally:
            progress.end()

    _of_store(data, layout, index, began, work)


def _have_purged(data: Path, order: Order, workers: list[int], began: Say) -> Ended:
    """Have the workers of a relay that runs do it."""
    layout = _layout(data)
    total = sum(_foresee(data, layout, index, order, began).entries for index in workers)
    file = OrderFile(data, uuid.uuid4().hex)
    purged: dict[int, Purged] = {}
    progress = Progress("purging", total)
    try:
        file.write(msgspec.structs.replace(order, workers=workers))
        is_all = _follow(file, workers, purged, progress)
    except KeyboardInterrupt:
        answers = {worker: file.read_answer(worker) for worker in workers}
        purged = {worker: answer.purged for worker, answer in answers.items() if answer}
        return interrupted(_so_far(data, order, purged))
    finally:
        file.take_away()
        progress.end()
    if not purged:
        raise ToolRefused(
            f"the relay on {data} has not taken the order within {_ANSWER_S:g} s; nothing is gone"
        )
    if is_all:
        return _purged_end(data, order, purged, "are gone")
    note = _purged_text(data, order, purged, "are gone")
    return Ended(error=f"not all workers have done it in time; so far\n{note}", exit_code=FAULTY)


def _follow(
    file: OrderFile, workers: list[int], answers: dict[int, Purged], progress: Progress
) -> bool:
    """Note what each worker answers until all are ready, or for too long none says more.

    Return whether all are.
    """
    heard_s = time.monotonic()
    done: set[int] = set()
    while len(done) < len(workers) and time.monotonic() - heard_s < _ANSWER_S:
        time.sleep(_POLL_S)
        for worker in set(workers) - done:
            answer = file.read_answer(worker)
            if answer is None or (answers.get(worker) == answer.purged and not answer.is_done):
                continue
            heard_s = time.monotonic()
            progress.advance(answer.purged.entries - answers.get(worker, Purged()).entries)
            answers[worker] = answer.purged
            if answer.is_done:
                done.add(worker)
    return len(done) == len(workers)


def _so_far(data: Path, order: Order, stores: dict[int, Purged]) -> str:
    """Return what is known to be gone where it was not carried out to its end."""
    return f"so far at least\n{_purged_text(data, order, stores, 'are gone')}"


def _purged_end(data: Path, order: Order, stores: dict[int, Purged], what: str) -> Ended:
    total = Purged()
    for purged in stores.values():
        total.add(purged)
    counts = msgspec.structs.asdict(total)
    return Ended(note=_purged_text(data, order, stores, what), counts=counts)


def _purged_text(data: Path, order: Order, stores: dict[int, Purged], what: str) -> str:
    total = Purged()
    for purged in stores.values():
        total.add(purged)
    text = (
        f"{data}: {total.messages:,} messages, {total.group_messages:,} group messages"
        f" ({total.size:,} bytes) and {total.receipts:,} receipts {what}"
    )
    if order.user:
        text += f", and {total.known:,} records of messages to {order.user}"
    return text


# --- both ---


class _Runs(ToolRefused):
    """A relay runs on the data directory."""


@contextmanager
def _held(data: Path) -> Iterator[None]:
    """Keep every relay from starting on a data directory.

    Raises:
        _Runs: one runs.
        BootError: its stores are being laid out.
    """
    try:
        claim = take_lock(data / "lock", wait_s=0)
    except BootError:
        raise _Runs(f"a relay runs on {data}: stop it first") from None
    try:
        other = take_lock(data / "reshard.lock", wait_s=LOCK_WAIT_S)
        try:
            yield
        finally:
            os.close(other)
    finally:
        os.close(claim)


def _layout(data: Path) -> Layout:
    if not meta_path(data).exists():
        raise ToolRefused(f"{data} is no data directory: there is no meta.json in it")
    return read_layout(data)


def _marks(layout: Layout) -> list[Mark]:
    return [Mark(layout.generation, layout.workers, index) for index in range(layout.workers)]


def _of_store(
    data: Path, layout: Layout, index: int, began: Say, work: Callable[[Path], _Result]
) -> _Result:
    """Do `work` on the store of a worker; what is wrong with it is told with its name."""
    directory = layout.store_directory(data, index)
    began(directory.name)
    try:
        return work(directory)
    except (StoreDamaged, FileNotFoundError) as error:
        raise unusable(directory, error) from error


@click.group(
    name="store",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
    subcommand_metavar="compact | purge ...",
)
def store() -> None:
    """Make room in a data directory, or throw away what is in it."""


store.add_command(compact)
store.add_command(purge)
