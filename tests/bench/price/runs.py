"""One run: a relay of one tree, loaded by the generator of the tree that loads both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from relay.compiled import PLAIN
from relay.loadgen.run.servers import Server
from tests.bench.generator import generate
from tests.bench.price.plan import LOAD_CPU, RELAY_CPU, Row, command
from tests.bench.price.trees import Tree
from tests.bench.records import Outcome, read_outcome

_SPARE_S: Final = 60.0  # for logins, the cool-down and the verdict, beside the measured time


class Stage:
    """Where runs happen: the generator, a directory for what is thrown away, the cores."""

    def __init__(self, generator: Tree, scratch: Path, *, seconds: float) -> None:
        self.has_cores = {RELAY_CPU, LOAD_CPU} <= os.sched_getaffinity(0)
        self._generator = generator
        self._scratch = scratch
        self._seconds = seconds
        self._groups: dict[str, bytes] = {}  # by row: the groups that its load wants

    def run(self, row: Row, tree: Tree) -> Outcome:
        """Run a row's load against a tree's relay.

        Raises:
            RunFailed: the generator could not do it; the message has the end of what it said.
            relay.loadgen.run.servers.RunFailed: the relay did not come up.
            Unreadable: the generator wrote no record of this run.
        """
        record = self._scratch / "run.json"
        with self._relay(row, tree) as url:
            self._generate(self._loading(row, url, record))
        return read_outcome(record)

    def run_both(self, row: Row, first: Tree, second: Tree) -> tuple[Outcome, Outcome]:
        """Run a row's load against the relays of two trees at the same time.

        Raises:
            What `run` raises.
        """
        records = [self._scratch / f"run-{n}.json" for n in range(2)]
        # The relays are started by this thread: they end with the thread that starts them.
        with self._relay(row, first) as one, self._relay(row, second) as other:
            loads = [
                self._loading(row, url, record)
                for url, record in zip((one, other), records, strict=True)
            ]
            with ThreadPoolExecutor(len(loads)) as threads:
                for done in [threads.submit(self._generate, load) for load in loads]:
                    done.result()
        return read_outcome(records[0]), read_outcome(records[1])

    def _loading(self, row: Row, url: str, record: Path) -> list[str]:
        record.unlink(missing_ok=True)
        return command(
            row, url=url, seconds=self._seconds, has_cores=self.has_cores, record=str(record)
        )

    @contextmanager
    def _relay(self, row: Row, tree: Tree) -> Iterator[str]:
        """Serve, with new data; yield the URL."""
        served = Server(
            f"relay of {tree.name}",
            [
                # `env` becomes the relay: its pid is the relay's.
                *("env", f"--chdir={tree.directory}", f"PYTHONPATH={tree.directory}"),
                *(() if tree.is_compiled else (f"{PLAIN}=1",)),
                *(str(tree.python), "supervisor.py", "--port", "0"),
                *("--workers", str(row.processes), "--fronts", str(row.processes)),
                *tree.options,
            ],
            data_option="--data",
            groups=self._groups_of(row),
            cpus=(RELAY_CPU,) if row.is_pinned and self.has_cores else (),
        )
        with served:
            yield served.url

    def _groups_of(self, row: Row) -> bytes:
        if row.load[0] != "group":
            return b""
        if row.name not in self._groups:
            file = self._scratch / "groups.json"
            self._generate([*row.load, "--groups-file", str(file)])
            self._groups[row.name] = file.read_bytes()
        return self._groups[row.name]

    def _generate(self, arguments: list[str]) -> None:
        generate(
            arguments,
            python=self._generator.python,
            directory=self._generator.directory,
            within_s=self._seconds + _SPARE_S,
        )
