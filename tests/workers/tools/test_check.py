"""The check: silent about what is whole; of each kind of fault it says what is wrong, and where."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.msgpack import encode

from relay.bus.envelopes import Carry, Durable, Receipt, Seq
from relay.disk.layout import Layout, write_layout
from relay.protocol.slots import Slot, shard_ranges, slot_of
from tests import plain
from tests.workers.shard.harness import to_user
from tests.workers.tools.harness import (
    DIARY,
    NOTES,
    USERS,
    change,
    checked,
    cluster_on,
    fill,
    hold_up,
    lay_out,
    lose_sessions,
    problems,
    snapshots_of,
    write_owned,
)
from workers.shard.mailbox import refer_to_body, unpack_totals
from workers.shard.manyreceipts import ManyReceipts
from workers.store.keys import (
    SEQ_BYTES,
    box_of,
    message_key,
    owned_prefix,
    pack_peer,
    pack_seq,
    pack_slot,
    unpack_seq,
)
from workers.store.meta import APPLIED_NAME, CONFIRMED_NAME, SEQ_NAME, WAITING_NAME
from workers.store.schema import ROWS, decode_keys, encode_keys, pack_count
from workers.store.snapshot import Snapshot
from workers.tools.check import ITEMS, WHOLE, check_store
from workers.tools.report import Report

REPOSITORY = Path(__file__).parents[3]
DAY_MS = 86_400_000

Trees = dict[str, Any]
Edit = Callable[[Any, Trees], object]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stores with a bit of everything; to be copied, not changed."""
    data = tmp_path_factory.mktemp("filled") / "data"
    lay_out(data, 2)
    with cluster_on(data) as cluster:
        fill(cluster)
        hold_up(cluster)
    write_owned(data, DIARY)
    return data


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "data"))


def test_every_tree_is_looked_at_in_one_way() -> None:
    assert sorted([*WHOLE, *ITEMS]) == sorted(row.name for row in ROWS)


# --- nothing is wrong ---


def test_a_store_with_a_bit_of_everything_is_clean(filled: Path) -> None:
    report = checked(filled)

    assert report.findings == []
    assert report.stores == 2
    with snapshots_of(filled) as snapshots:
        trees = ("mail", "receipts", "messages", "bodies", "outbox", "boxes", "expiry", NOTES.name)
        for snapshot in snapshots.values():
            assert all(snapshot.count(tree) for tree in trees), "an empty tree shows nothing"


def test_mailboxes_that_nobody_counted_are_clean(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", 2)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
        lose_sessions(cluster)

    assert problems(tmp_path / "data") == []


def test_a_new_data_directory_is_clean(tmp_path: Path) -> None:
    lay_out(tmp_path / "data", 3)

    assert checked(tmp_path / "data").stores == 3
    assert problems(tmp_path / "data") == []


def test_messages_that_are_forgotten_while_they_wait_are_no_fault(tmp_path: Path) -> None:
    """The sweep takes mailboxes a stretch at a time, records in the order of their age."""
    lay_out(tmp_path / "data", 1)
    with cluster_on(tmp_path / "data") as cluster:
        fill(cluster)
        cluster.now_ms += 31 * DAY_MS
        cluster.decide(lambda shard: shard.sweep(b"", max_boxes=0, day_ms=cluster.now_ms))
        cluster.feed(to_user(USERS[0], USERS[1], "new"))
        assert len(cluster.shards[0].tree("messages")) == 1
        assert len(cluster.mail(USERS[1])) > 1

    assert problems(tmp_path / "data") == []


# --- one thing is wrong ---


def first(txn: Any, tree: Any, accept: Callable[[bytes, bytes], bool]) -> tuple[bytes, bytes]:
    """Return the first item that `accept` takes."""
    return next((key, value) for key, value in txn.cursor(tree) if accept(key, value))


def entry_of_kind(txn: Any, trees: Trees, kind: bytes) -> tuple[bytes, bytes]:
    return first(txn, trees["mail"], lambda _, value: value[:1] == kind)


def drop_entry(kind: bytes) -> Edit:
    def edit(txn: Any, trees: Trees) -> None:
        key, _ = entry_of_kind(txn, trees, kind)
        txn.delete(key, db=trees["mail"])

    return edit


def copy_entry(kind: bytes) -> Edit:
    """Add a very old entry to the mailbox of one of that kind."""

    def edit(txn: Any, trees: Trees) -> None:
        key, value = entry_of_kind(txn, trees, kind)
        txn.put(key[:-SEQ_BYTES] + pack_seq(1), value, db=trees["mail"])

    return edit


def change_entry(kind: bytes, change_value: Callable[[bytes], bytes]) -> Edit:
    def edit(txn: Any, trees: Trees) -> None:
        key, value = entry_of_kind(txn, trees, kind)
        txn.put(key, change_value(value), db=trees["mail"])

    return edit


def drop(tree: str, accept: Callable[[bytes, bytes], bool] = lambda key, value: True) -> Edit:
    def edit(txn: Any, trees: Trees) -> None:
        key, _ = first(txn, trees[tree], accept)
        txn.delete(key, db=trees[tree])

    return edit


def put(tree: str, key: bytes, value: bytes) -> Edit:
    return lambda txn, trees: txn.put(key, value, db=trees[tree])


def change_value(
    tree: str,
    to: Callable[[bytes], bytes],
    accept: Callable[[bytes, bytes], bool] = lambda key, value: True,
) -> Edit:
    def edit(txn: Any, trees: Trees) -> None:
        key, value = first(txn, trees[tree], accept)
        txn.put(key, to(value), db=trees[tree])

    return edit


def stored(key: bytes, record: bytes) -> bool:
    """Whether a record is that of a message to a user, who has not acked it."""
    return record[16] == 1 and b"user" in key.split(b"\0", 2)[2]


def acked(record: bytes) -> bytes:
    return record[:16] + b"\2" + record[17:]


def list_twice(txn: Any, trees: Trees) -> None:
    key, value = first(txn, trees["expiry"], lambda *_: True)
    txn.put(key, encode_keys(decode_keys(value) * 2), db=trees["expiry"])


def list_stranger(txn: Any, trees: Trees) -> None:
    key, value = first(txn, trees["expiry"], lambda *_: True)
    txn.put(key, encode_keys([*decode_keys(value), b"id\0user1\0xx"]), db=trees["expiry"])


def list_too_early(txn: Any, trees: Trees) -> None:
    key, value = first(txn, trees["expiry"], lambda *_: True)
    txn.delete(key, db=trees["expiry"])
    txn.put(pack_seq(1), value, db=trees["expiry"])


def record_twice(txn: Any, trees: Trees) -> None:
    """Have two records that name one entry."""
    key, record = first(txn, trees["messages"], stored)
    twin = b"twin-" + key
    txn.put(twin, record, db=trees["messages"])
    at, listed = first(txn, trees["expiry"], lambda _, value: key in decode_keys(value))
    txn.put(at, encode_keys([*decode_keys(listed), twin]), db=trees["expiry"])


def swap_receipts(txn: Any, trees: Trees) -> None:
    (one, at_one), (other, at_other) = list(txn.cursor(trees["receipts"]))[:2]
    txn.put(one, at_other, db=trees["receipts"])
    txn.put(other, at_one, db=trees["receipts"])


def readdress(txn: Any, trees: Trees) -> None:
    """Have a receipt in the outbox for a user whom this worker serves itself."""
    own = next(user for user in USERS if slot_of(user) in shard_ranges(2)[0])
    key, _ = first(txn, trees["outbox"], lambda *_: True)
    content = Receipt(own, "", "M", "user1", 2, 7)
    txn.put(key, encode(Durable(unpack_seq(key), content)), db=trees["outbox"])


STRANGER = next(user for user in USERS if slot_of(user) in shard_ranges(2)[1])
OWN = next(f"new{n}" for n in range(99) if slot_of(f"new{n}") in shard_ranges(2)[0])
RECEIPT = Receipt(STRANGER, "", "M", "user1", 2, 7)
MANY = ManyReceipts(OWN, "hike", 2, ["M"], ["user1"], [7])
TOO_LATE = 1 << 62
# Of a message that was acked long ago.
RECORD = pack_seq(1) * 2 + b"\2" + bytes(8)


FAULTS: dict[str, tuple[Edit, str, str]] = {
    # what was done: (the edit, the tree of a finding, part of its text)
    "totals say one message more": (
        change_value("boxes", lambda raw: (unpack_totals(raw)[0] + 1).to_bytes(4, "big") + raw[4:]),
        "boxes",
        "messages of",
    ),
    "totals are cut off": (change_value("boxes", lambda raw: raw[:5]), "boxes", "malformed"),
    "totals of an empty mailbox": (put("boxes", box_of(OWN), bytes(24)), "boxes", "empty mailbox"),
    "totals say that a later entry was sent": (
        change_value("boxes", lambda raw: raw[:16] + pack_seq(TOO_LATE)),
        "boxes",
        f"says that entry {TOO_LATE} was sent",
    ),
    "a receipt of an absent author is not findable": (
        change_entry(b"R", lambda raw: b"r" + raw[1:]),
        "boxes",
        "lacks 1 receipts",
    ),
    "the entry of a receipt is gone": (drop_entry(b"R"), "receipts", "which is no receipt"),
    "the index of a receipt is gone": (drop("receipts"), "mail", "does not name"),
    "two receipts are swapped in their index": (swap_receipts, "receipts", "another receipt"),
    "a receipt that cannot be read": (
        change_entry(b"R", lambda raw: b"R\x93"),
        "mail",
        "malformed",
    ),
    "a receipt for another author": (
        change_entry(b"R", lambda raw: b"R" + encode(RECEIPT)),
        "mail",
        f"is a receipt for {STRANGER}",
    ),
    "receipts that are one entry, but are fewer than it says": (
        put("mail", box_of(OWN) + pack_seq(1), b"s\0\2" + encode(MANY)),
        "mail",
        "counts 2 receipts, but has 1",
    ),
    "an entry of no known kind": (change_entry(b"m", lambda raw: b"?"), "mail", "unknown kind 63"),
    "an empty entry": (change_entry(b"m", lambda raw: b""), "mail", "malformed"),
    "a message without a record": (copy_entry(b"m"), "mail", "has no record"),
    "a mailbox of another worker": (
        put("mail", box_of(STRANGER) + pack_seq(1), b"mx"),
        "mail",
        "which this worker does not own",
    ),
    "a mailbox in a wrong slot": (
        put("mail", pack_slot(Slot(3)) + box_of(OWN)[2:] + pack_seq(1), b"mx"),
        "mail",
        "not in that of its user",
    ),
    "a mailbox of no user": (put("mail", b"\0\0garbage!", b"mx"), "mail", "malformed"),
    "an entry from the future": (
        put("mail", box_of(OWN) + pack_seq(TOO_LATE), b"mx"),
        "mail",
        f"has the seq {TOO_LATE}, but the last one given is",
    ),
    "an entry that was acked": (
        change_value("messages", acked, stored),
        "messages",
        "is acked, but entry",
    ),
    "an entry of another kind than its record": (
        change_entry(b"m", lambda raw: b"R" + raw[1:]),
        "messages",
        "which is of another kind",
    ),
    "two records of one entry": (record_twice, "mail", "has 2 records"),
    "a record of an unknown level": (
        change_value("messages", lambda raw: raw[:16] + b"\x09" + raw[17:], stored),
        "messages",
        "has the level 9",
    ),
    "a record that is cut off": (
        change_value("messages", lambda raw: raw[:9]),
        "messages",
        "malformed: a record of 9 bytes",
    ),
    "a record of another worker": (
        put("messages", message_key("M", "user1", STRANGER, ""), RECORD),
        "messages",
        "which this worker does not own",
    ),
    "a record that never expires": (
        put("messages", message_key("M", "user1", OWN, ""), RECORD),
        "messages",
        "is listed 0 times",
    ),
    "a record that expires twice": (list_twice, "messages", "is listed 2 times"),
    "a list of what does not exist": (list_stranger, "expiry", "no such record"),
    "a list that is due too early": (list_too_early, "expiry", "which is later"),
    "a list that cannot be read": (
        change_value("expiry", lambda raw: b"\xc1"),
        "expiry",
        "malformed",
    ),
    "a body that is gone": (drop("bodies"), "bodies", "is missing, but mailboxes refer to it"),
    "a body that nobody counts": (drop("holders"), "bodies", "has no count of holders"),
    "a body with one holder more than there are": (
        change_value("holders", lambda raw: pack_count(int.from_bytes(raw, "big") + 1)),
        "bodies",
        "refer to it",
    ),
    "a body that nobody refers to": (
        lambda txn, trees: [
            put("bodies", pack_seq(7), b"x")(txn, trees),
            put("holders", pack_seq(7), pack_count(1))(txn, trees),
        ],
        "bodies",
        "counts 1 holders, but 0 refer to it",
    ),
    "a body of another length": (
        change_value("bodies", lambda raw: raw + b"x"),
        "bodies",
        "but its holders say another",
    ),
    "holders of no body": (
        put("holders", pack_seq(7), pack_count(3)),
        "holders",
        "counts 3 holders of a missing body",
    ),
    "a reference more than is counted": (
        copy_entry(b"g"),
        "bodies",
        "refer to it",
    ),
    "a reference to another body": (
        change_entry(b"g", lambda raw: refer_to_body(Seq(7), 7)),
        "bodies",
        "is missing, but mailboxes refer to it",
    ),
    "an outbox for nobody": (
        put("outbox", pack_peer(7) + pack_seq(7), encode(plain.durable(7, RECEIPT))),
        "outbox",
        "is for worker 7 of 2",
    ),
    "an outbox entry with another number": (
        put("outbox", pack_peer(1) + pack_seq(7), encode(plain.durable(8, RECEIPT))),
        "outbox",
        "holds entry 8",
    ),
    "an outbox entry for a user of this worker": (readdress, "outbox", "does not serve"),
    "an outbox entry that cannot be read": (
        change_value("outbox", lambda raw: raw[:-3]),
        "outbox",
        "malformed",
    ),
    "an outbox entry that was confirmed": (
        put("meta", CONFIRMED_NAME % 1, pack_seq(TOO_LATE)),
        "outbox",
        "was confirmed",
    ),
    "a last seq that is too low": (put("meta", SEQ_NAME, pack_seq(1)), "mail", "last one given"),
    "an outbox entry of an extension for a user of this worker": (
        put(
            "outbox",
            pack_peer(1) + pack_seq(7),
            encode(plain.durable(7, Carry("diary", OWN, b"x"))),
        ),
        "outbox",
        f"is for {OWN}, whom worker 1 does not serve",
    ),
    "an extension's item of another worker": (
        put(NOTES.name, owned_prefix(STRANGER) + b"key", b"x"),
        NOTES.name,
        "which this worker does not own",
    ),
    "an extension's item in a wrong slot": (
        put(NOTES.name, pack_slot(Slot(3)) + OWN.encode() + b"\0key", b"x"),
        NOTES.name,
        "is in slot 3, not in that of its owner",
    ),
    "an extension's item of nobody": (
        put(NOTES.name, b"\0\3\0key", b"x"),
        NOTES.name,
        "names no owner",
    ),
    "an extension's item without an owner's end": (
        put(NOTES.name, b"\0\3key", b"x"),
        NOTES.name,
        "malformed",
    ),
    "an unknown counter": (put("meta", b"what", b"ever"), "meta", "is unknown or malformed"),
    "a note of waiting messages that is none": (
        put("meta", WAITING_NAME, b"\xc1"),
        "meta",
        "is malformed",
    ),
    "a counter of no peer": (
        put("meta", APPLIED_NAME % 0, pack_seq(1)),
        "meta",
        "is of no peer of worker 0",
    ),
    "a store that says nothing of itself": (
        drop("meta", lambda key, _: key == b"mark"),
        "meta",
        "it is the store of None, not of worker 0 of 2, generation 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_it_names_the_fault(data: Path, fault: str) -> None:
    edit, tree, text = FAULTS[fault]
    change(data, 0, edit)

    found = checked(data).findings

    assert any(each.tree == tree and text in each.problem for each in found), found
    assert "worker-0" in {each.store for each in found}


def test_a_finding_of_an_extension_names_it_and_the_owner_and_the_key(data: Path) -> None:
    whole = owned_prefix(STRANGER)
    change(data, 0, put(NOTES.name, whole + b"monday", b"x"))
    change(data, 0, put(NOTES.name, whole + b"\xff\1", b"x"))

    slot = slot_of(STRANGER)
    assert problems(data) == [
        f"worker-0 diary.notes {STRANGER} {key}: is in slot {slot}, which this worker does not own"
        for key in ("monday", "ff01")
    ]


def test_a_store_older_than_the_others_is_told_from_their_counts(tmp_path: Path) -> None:
    """One store was put back to an earlier state: what it was handed since is lost."""
    data = tmp_path / "data"
    lay_out(data, 2)
    with cluster_on(data) as cluster:
        fill(cluster)
    earlier = shutil.copytree(data / "gen-1" / "worker-1", tmp_path / "earlier")
    with cluster_on(data) as cluster:
        hold_up(cluster)
    with cluster_on(data) as cluster:
        cluster.settle()
    assert problems(data) == []
    shutil.rmtree(data / "gen-1" / "worker-1")
    earlier.rename(data / "gen-1" / "worker-1")

    found = problems(data)

    assert any(
        line.startswith("worker-1 meta: is older than the other stores: worker 0 was told")
        for line in found
    ), found
    assert any("has stored the entry" in line for line in found), found


def test_stores_in_each_other_s_place(data: Path, tmp_path: Path) -> None:
    write_layout(data, Layout(generation=1, workers=3))
    shutil.copytree(data / "gen-1" / "worker-1", data / "gen-1" / "worker-2")

    found = problems(data)

    assert (
        "worker-2 meta mark: it is the store of worker 1 of 2, generation 1,"
        " not of worker 2 of 3, generation 1"
    ) in found


def test_one_store_by_itself(data: Path) -> None:
    change(data, 1, drop("receipts"))
    snapshot = Snapshot(data / "gen-1" / "worker-1")
    report = Report()

    check_store("worker-1", snapshot, report)
    snapshot.close()

    assert report.total == 1
    assert report.findings[0].tree == "mail"


# --- the tool ---


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workers.store", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def contents(data: Path) -> Iterator[None]:
    """Afterwards every file that was there must be as it was, and no other."""
    before = {path: path.read_bytes() for path in data.rglob("data.mdb")}
    names = sorted(data.rglob("*"))
    yield
    assert {path: path.read_bytes() for path in data.rglob("data.mdb")} == before
    assert sorted(data.rglob("*")) == names


@pytest.mark.slow
@pytest.mark.usefixtures("contents")
def test_the_tool_says_that_nothing_is_wrong(data: Path) -> None:
    done = tool("check", data)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"{data}: 2 stores, ")
    assert done.stdout.endswith("nothing is wrong\n")


@pytest.mark.slow
def test_the_tool_lists_what_is_wrong(data: Path) -> None:
    change(data, 1, drop("receipts"))

    text, as_json = tool("check", data), tool("check", data, "--json")

    assert (text.returncode, as_json.returncode) == (1, 1)
    line, verdict = text.stdout.splitlines()
    assert line.startswith("worker-1 mail user")
    assert verdict.endswith(": 1 finding")
    found = json.loads(as_json.stdout)
    assert found["clean"] is False
    assert found["findings_total"] == 1
    assert found["findings"][0]["store"] == "worker-1"
    assert found["findings"][0]["tree"] == "mail"


@pytest.mark.slow
@pytest.mark.usefixtures("contents")
def test_the_tool_checks_one_store_in_a_read_only_place(data: Path) -> None:
    store = data / "gen-1" / "worker-0"

    done = tool("check", store)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{store}: 1 store, ")


@pytest.mark.parametrize("name", ["", "nothing-here"])
def test_what_is_no_data_directory_is_refused(tmp_path: Path, name: str) -> None:
    done = tool("check", tmp_path / name)

    assert done.returncode == 2
    assert "is no data directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_bad_usage_is_refused() -> None:
    assert tool().returncode == 2
    assert tool("backup").returncode == 2
    mend = tool("mend", "x")
    assert mend.returncode == 2
    assert mend.stderr.startswith("workers.store: No such command 'mend'.")
    assert mend.stderr.count("\n") == 1
    assert "exit codes" in tool("check", "--help").stdout


def test_missing_and_garbled_stores_are_findings_and_the_others_are_checked(data: Path) -> None:
    write_layout(data, Layout(generation=1, workers=4))
    (data / "gen-1" / "worker-2").mkdir()
    (data / "gen-1" / "worker-3").mkdir()
    (data / "gen-1" / "worker-3" / "data.mdb").write_bytes(b"garbage" * 9999)

    done = tool("check", data, "--json")

    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert found["stores"] == 2
    lines = {each["store"]: each["problem"] for each in found["findings"]}
    assert lines["worker-2"] == "data.mdb is missing"
    assert lines["worker-3"] == "data.mdb is no whole store: it is not an LMDB file"


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_a_store_whose_pages_are_overwritten_is_a_finding(data: Path, byte: int) -> None:
    """Reading such a file may end the process that does: that is a finding too."""
    file = data / "gen-1" / "worker-1" / "data.mdb"
    content = bytearray(file.read_bytes())
    pages = range(4, len(content) // 4096 - 1)
    for page in pages:
        content[page * 4096 + 10 : page * 4096 + 4000] = bytes([byte]) * 3990
    file.write_bytes(content)

    done = tool("check", data)

    assert done.returncode == 1, done.stderr
    assert "worker-1" in done.stdout
