"""LMDB as a store has it: in the format that we read, whatever the environment says."""

import os
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from relay.errors import BootError
from tests.outside.processes import REPOSITORY
from workers.store.environment import inner_bytes, open_environment, tree_bytes
from workers.store.store import Store
from workers.store.storefile import inspect_store_file

MAKE = "import sys, pathlib; from workers.store.environment import open_environment as o; "
MAKE += "o(pathlib.Path(sys.argv[1])).close()"


@pytest.mark.slow
def test_the_environment_does_not_choose_the_format(tmp_path: Path) -> None:
    env = os.environ | {"LMDB_DEFAULT_LIB_VERSION": "1"}
    command = [sys.executable, "-c", MAKE, str(tmp_path)]

    subprocess.run(command, env=env, cwd=REPOSITORY, check=True, timeout=60)

    inspect_store_file(tmp_path)


def test_nothing_opens_lmdb_otherwise() -> None:
    sources = (REPOSITORY / "workers").rglob("*.py")

    assert [path.name for path in sources if "lmdb.open(" in path.read_text()] == ["environment.py"]


def test_what_was_freed_is_free_inside(tmp_path: Path) -> None:
    with open_environment(tmp_path, map_size=1 << 24, max_dbs=1, sync=False) as env:
        tree = env.open_db(b"one")
        for number in range(100):
            with env.begin(write=True) as txn:
                txn.put(b"%d" % number, bytes(20_000), db=tree)
        with env.begin() as txn:
            used = tree_bytes(env, txn, [tree])
        assert used >= 2_000_000
        before = inner_bytes(env, used)
        for number in range(90):
            with env.begin(write=True) as txn:
                txn.delete(b"%d" % number, db=tree)
        with env.begin() as txn:
            left = tree_bytes(env, txn, [tree])

        assert left < 300_000
        assert inner_bytes(env, left) - before >= 1_700_000


def test_a_store_of_another_format_is_refused_with_advice_that_destroys_nothing(
    tmp_path: Path,
) -> None:
    lmdb.open(str(tmp_path), lib_version=1).close()
    content = (tmp_path / "data.mdb").read_bytes()

    with pytest.raises(BootError, match=r"of another format: .* start the version that wrote it$"):
        Store(tmp_path, durability="os", map_bytes=1 << 20, max_map_bytes=1 << 26)

    assert (tmp_path / "data.mdb").read_bytes() == content
