"""All stores of a data directory, opened to be read, and checked together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from relay.disk.layout import Layout
from relay.errors import StoreDamaged, StoreForeign
from workers.store.moment import pin
from workers.store.snapshot import Snapshot
from workers.store.storefile import FILE_NAME
from workers.tools.apart import Say, ToolRefused
from workers.tools.check import check_stores
from workers.tools.report import Report


def directories_of(data: Path, layout: Layout) -> dict[int, Path]:
    """Return where the stores of a data directory are, by worker."""
    return {index: layout.store_directory(data, index) for index in range(layout.workers)}


@contextmanager
def opened(directories: Mapping[int, Path], report: Report) -> Iterator[dict[int, Snapshot]]:
    """Open stores; those that are damaged or missing are findings instead.

    Raises:
        ToolRefused: one cannot be read.
    """
    snapshots: dict[int, Snapshot] = {}
    try:
        for index, directory in directories.items():
            try:
                snapshots[index] = Snapshot(directory)
            except StoreForeign as error:
                report.add(directory.name, "", "", f"{FILE_NAME} is of another format: {error}")
            except StoreDamaged as error:
                report.add(directory.name, "", "", f"{FILE_NAME} is no whole store: {error}")
            except FileNotFoundError:
                report.add(directory.name, "", "", f"{FILE_NAME} is missing")
            except OSError as error:
                raise ToolRefused(f"{directory} cannot be read: {error.strerror}") from None
        yield snapshots
    finally:
        for snapshot in snapshots.values():
            snapshot.close()


def check_all(data: Path, layout: Layout, report: Report, began: Say) -> None:
    """Check all stores of a data directory, each and with the others.

    Raises:
        ToolRefused: one cannot be read.
    """
    with opened(directories_of(data, layout), report) as snapshots:
        pin(snapshots)
        check_stores(
            snapshots,
            report,
            generation=layout.generation,
            workers=layout.workers,
            began=began,
        )
