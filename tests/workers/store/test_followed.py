"""A store that follows a log: always a beginning of it, whatever a power cut leaves."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from relay.bus.envelopes import Seq
from relay.disk.layout import read_layout
from relay.errors import BootError, NotConfirmed, StoreDamaged
from relay.settings.tables import ServerSettings, Settings
from workers.store import journal, journalfile
from workers.store.batch import Batch
from workers.store.journal import FILE_NAMES, OF_JOURNAL, Tail
from workers.store.journalfile import IDENTITY_BYTES, JournalFile, JournalReader, checksum_of
from workers.store.keys import box_of, pack_seq
from workers.store.schema import owned_row
from workers.store.snapshot import Snapshot
from workers.store.store import Store
from workers.tools.reshard import reshard

MIB = 1024 * 1024
BOB, CAROL = box_of("bob"), box_of("carol")
NOTES, LOG = owned_row("diary.notes"), owned_row("diary.log", grows=True)

Trees = dict[str, dict[bytes, bytes]]


class MemoryLog:
    """The log of a range, as everybody has it."""

    refusal = ""
    parts = 0  # that a record has besides its last

    def __init__(self) -> None:
        self.records: list[bytes] = []  # that of number 1 first
        self._trees: list[Trees] = [{}]  # behind each, as far as somebody has asked
        self.told: int | None = None  # how many of them its writer knows of; None: all

    @property
    def confirmed(self) -> int:
        return len(self.records) if self.told is None else self.told

    def append(self, number: int, payload: bytes) -> int:
        assert number == len(self.records) + 1
        self.records += [b""] * self.parts
        self.records.append(payload)
        return len(self.records)

    def lose(self, behind: int) -> None:
        """Never have stored what is behind that number."""
        del self.records[behind:]
        del self._trees[behind + 1 :]

    def trees(self, number: int) -> Trees:
        """Return what a store holds that has the records up to that number."""
        for payload in self.records[len(self._trees) - 1 : number]:
            trees = dict(self._trees[-1])
            changes = msgspec.msgpack.decode(payload) if payload else {}
            for name, values in changes.items():
                tree = trees.get(name, {}) | values
                trees[name] = {key: value for key, value in tree.items() if value is not None}
            self._trees.append({name: tree for name, tree in trees.items() if tree})
        return self._trees[number]


def open_store(directory: Path) -> Store:
    return Store(
        directory,
        durability="log",
        map_bytes=16 * MIB,
        max_map_bytes=64 * MIB,
        owned=(NOTES, LOG),
    )


def held(store: Store) -> Trees:
    trees = {name: dict(tree.scan(b"")) for name, tree in store._trees.items()}
    for name in OF_JOURNAL:
        trees["meta"].pop(name, None)
    return {name: tree for name, tree in trees.items() if tree}


def catch_up(store: Store, log: MemoryLog, most: int | None = None) -> None:
    number = store.last_number
    for payload in log.records[number:][:most]:
        number += 1
        store.apply(number, payload)


def put(store: Store, seq: int, entry: bytes = b"entry") -> None:
    with store.writing() as batch:
        batch.put_mail(BOB, Seq(seq), entry)
        batch.put_last_seq(Seq(seq))
    store.confirm()


def fold_in(store: Store) -> None:
    while store.has_unfolded:
        store.fold(at_once=True)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def store(tmp_path: Path, log: MemoryLog) -> Iterator[Store]:
    """The store of the owner."""
    store = open_store(tmp_path / "owner")
    store.follow(log)
    yield store
    store.close()


def test_each_commit_is_a_record_of_the_log_by_number_and_content(
    store: Store, log: MemoryLog
) -> None:
    put(store, 1)
    put(store, 2)

    assert store.last_number == len(log.records) == 2
    assert store.last == Tail(2, checksum_of(2, log.records[1]))
    assert log.trees(2) == held(store)


def test_a_record_in_parts_is_where_the_last_one_is(
    store: Store, log: MemoryLog, tmp_path: Path
) -> None:
    put(store, 1)
    log.parts = 2
    put(store, 2)

    assert store.last == Tail(4, checksum_of(4, log.records[3]))
    assert held(store) == log.trees(4) != log.trees(3) == log.trees(1)


def test_synced_is_what_a_pass_has_synced_and_of_what_a_killed_process_left_only_the_pages(
    tmp_path: Path, store: Store, log: MemoryLog
) -> None:
    put(store, 1)
    assert (store.last_number, store.synced_number) == (1, 0)
    fold_in(store)
    put(store, 2)
    assert (store.last_number, store.synced_number) == (2, 1)

    shutil.copytree(tmp_path / "owner", tmp_path / "killed")
    killed = open_store(tmp_path / "killed")

    assert (killed.last_number, killed.synced_number) == (2, 1)
    fold_in(killed)
    assert killed.synced_number == 2
    killed.close()


def test_what_the_log_does_not_take_is_nowhere(tmp_path: Path, log: MemoryLog) -> None:
    class Full(MemoryLog):
        def append(self, number: int, payload: bytes) -> int:
            raise NotConfirmed("no majority")

    store = open_store(tmp_path)
    store.follow(log)
    put(store, 1)
    store.follow(Full())

    with pytest.raises(NotConfirmed):
        put(store, 2)

    assert (store.last_number, held(store)) == (1, log.trees(1))
    store.close()
    store = open_store(tmp_path)
    assert (store.last_number, held(store)) == (1, log.trees(1))
    store.close()


def test_a_standby_that_applied_all_has_what_the_owner_has(
    store: Store, log: MemoryLog, tmp_path: Path
) -> None:
    for seq in range(1, 20):
        put(store, seq)
        with store.writing() as batch:
            batch.pop_mail(BOB, Seq(seq // 2))
            batch.add_message(b"m%d" % seq, b"record")
        store.confirm()
    fold_in(store)
    standby = open_store(tmp_path / "standby")

    catch_up(standby, log, 10)
    fold_in(standby)
    catch_up(standby, log)

    assert held(standby) == held(store) == log.trees(standby.last_number)
    assert standby.last == store.last
    standby.close()


def test_a_record_about_the_log_itself_takes_a_number_and_changes_nothing(
    log: MemoryLog, tmp_path: Path
) -> None:
    store = open_store(tmp_path)
    store.follow(log)
    put(store, 1)
    log.records.append(b"")
    before = held(store)

    store.apply(2, b"")
    put(store, 2)
    store.close()

    again = open_store(tmp_path)
    assert again.last_number == 3
    assert held(again) == log.trees(3) != before
    again.close()


def test_a_standby_that_becomes_the_owner_goes_on_with_the_log(
    store: Store, log: MemoryLog, tmp_path: Path
) -> None:
    put(store, 1)
    standby = open_store(tmp_path / "standby")
    catch_up(standby, log)

    standby.follow(log)
    put(standby, 2)

    assert len(log.records) == 2
    catch_up(store, log)
    assert held(store) == held(standby) == log.trees(2)
    standby.close()


def test_a_record_that_is_damaged_changes_nothing(store: Store) -> None:
    with pytest.raises(StoreDamaged, match="record 1 of the journal is damaged"):
        store.apply(1, b"\x81\xa4mail\x81\xc4\x00\xc4\x01v")

    assert store.last_number == 0


def test_no_young_entry_is_stated_again_since_the_log_has_no_such_record(
    store: Store, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_FOLD_BYTES", 200)
    monkeypatch.setattr(journal, "_YOUNG_S", 1000.0)
    store.adopt(max_map_bytes=64 * MIB)
    for seq in range(1, 200):
        put(store, seq)
        store.fold()

    assert store.last_number == len(log.records) == 199
    assert held(store) == log.trees(199)


def test_a_log_that_is_nearly_full_is_a_reason_to_refuse_sends(
    store: Store, log: MemoryLog
) -> None:
    assert store.refusal == ""
    log.refusal = "the log is full"

    assert store.refusal == "the log is full"


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_journal_that_is_gone_is_made_anew(log: MemoryLog, tmp_path: Path, name: str) -> None:
    store = open_store(tmp_path)
    store.follow(log)
    put(store, 1)
    fold_in(store)
    put(store, 2)
    store.close()
    (tmp_path / name).unlink()

    store = open_store(tmp_path)

    assert 1 <= store.last_number <= 2
    assert held(store) == log.trees(store.last_number)
    catch_up(store, log)
    assert held(store) == log.trees(2)
    store.close()


def test_what_is_behind_a_hole_is_cut_off(log: MemoryLog, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.follow(log)
    for seq in range(1, 7):
        put(store, seq, b"entry %d" % seq)
    store.close()
    path = tmp_path / FILE_NAMES[0]
    path.write_bytes(path.read_bytes().replace(b"entry 3", b"entry ?"))

    store = open_store(tmp_path)

    assert held(store) == log.trees(2)
    head = path.read_bytes()[8 : 8 + IDENTITY_BYTES]
    reader = JournalReader(path, head)
    reader.read_on()
    assert ([record.number for record in reader.records], reader.find_later(2)) == ([1, 2], None)
    reader.close()
    catch_up(store, log)
    assert held(store) == log.trees(6)
    store.close()


def test_pages_that_are_ahead_of_the_journal_are_refused(
    log: MemoryLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold some of records that are not there: a power cut alone never does that."""
    monkeypatch.setattr(journal, "_STRETCH_KEYS", 1)
    store = open_store(tmp_path)
    store.follow(log)
    for seq in range(1, 9):
        put(store, seq)
    store.fold(at_once=True)
    assert store.has_unfolded
    monkeypatch.setattr(store._journal, "_waiting", [])
    store.close()
    for name in FILE_NAMES:
        (tmp_path / name).unlink()

    with pytest.raises(BootError, match="its pages have some of up to record 8"):
        open_store(tmp_path)


def test_a_record_that_comes_amid_a_pass_is_durable_before_the_next_stretch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stretch folds a key in with its last value, which may be of that record."""
    monkeypatch.setattr(journal, "_STRETCH_KEYS", 1)
    store.adopt(max_map_bytes=64 * MIB)
    put(store, 1)
    begun = store._journal.fold(store._begin_write, at_once=True)
    assert (begun, store._journal._pass_to) == (True, 1)
    put(store, 2)
    synced: list[JournalFile] = []
    monkeypatch.setattr(JournalFile, "sync", lambda file: synced.append(file))

    store._journal.fold(store._begin_write, at_once=True)

    assert synced


def test_a_store_of_one_host_is_not_taken_for_one_of_a_cluster(tmp_path: Path) -> None:
    store = Store(tmp_path, durability="os", map_bytes=16 * MIB, max_map_bytes=16 * MIB)
    put(store, 1)
    store.close()

    with pytest.raises(BootError, match="is the store of a relay on one host"):
        open_store(tmp_path)


def test_a_store_of_a_cluster_is_written_by_nobody_else(tmp_path: Path) -> None:
    open_store(tmp_path).close()

    with pytest.raises(BootError, match="is the store of a range of a cluster"):
        Store(tmp_path, durability="fsync", map_bytes=16 * MIB, max_map_bytes=16 * MIB)


def test_ranges_are_not_laid_out_anew(log: MemoryLog, tmp_path: Path) -> None:
    settings = Settings(server=ServerSettings(data=str(tmp_path), workers=2))
    reshard(tmp_path, settings)
    layout = read_layout(tmp_path)
    open_store(layout.store_directory(tmp_path, 0)).close()

    reshard(tmp_path, settings)
    with pytest.raises(BootError, match="is of a host of a cluster with 2 ranges"):
        reshard(tmp_path, msgspec.structs.replace(settings, server=ServerSettings(workers=3)))
    assert read_layout(tmp_path) == layout


def test_a_copy_goes_on_behind_the_record_that_it_has(log: MemoryLog, tmp_path: Path) -> None:
    store = open_store(tmp_path / "owner")
    store.follow(log)
    for seq in range(1, 6):
        put(store, seq)
        if seq == 2:
            fold_in(store)
    store.close()
    copy = tmp_path / "copy"
    copy.mkdir()
    snapshot = Snapshot(tmp_path / "owner")
    snapshot.copy(copy)
    assert snapshot.last.number == 5
    snapshot.close()

    standby = open_store(copy)

    assert standby.last == Tail(5, checksum_of(5, log.records[4]))
    assert held(standby) == log.trees(5)
    standby.follow(log)
    put(standby, 6)
    assert held(standby) == log.trees(6)
    standby.close()


# ------------------------------------------------------------------------------------ power cuts


class Disk:
    """What is durable of journals: nothing of what was written since the last sync of a file."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._synced: dict[Path, bytes] = {}
        patch.setattr(JournalFile, "sync", self._noting(JournalFile.sync))
        patch.setattr(JournalFile, "cut", self._noting(JournalFile.cut))
        create = journalfile.create_journal_file

        def create_and_note(path: Path, identity: bytes) -> None:
            create(path, identity)
            self._synced[path] = path.read_bytes()

        patch.setattr(journal, "create_journal_file", create_and_note)

    def _noting(self, sync: Callable[[JournalFile], None]) -> Callable[[JournalFile], None]:
        def sync_and_note(file: JournalFile) -> None:
            sync(file)
            self._synced[file._path] = file._path.read_bytes()

        return sync_and_note

    def cut_power(self, directory: Path, close: Callable[[], None], random: Random) -> None:
        """Leave of what is not synced whatever a disk may leave."""
        kept = {path: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}
        close()
        for path, content in kept.items():
            if path in self._synced:
                content = mangled(self._synced[path], content, random)
                self._synced[path] = content
            path.write_bytes(content)


BLOCK = 32


def mangled(old: bytes, new: bytes, random: Random) -> bytes:
    """Return some blocks as they are durable, some as they were written since, some as neither."""
    how = random.choice(["suffix", "some", "none", "all"])
    size = random.choice([len(old), len(new)])
    old, new = (each.ljust(size, b"\0")[:size] for each in (old, new))
    differing = [at for at in range(0, size, BLOCK) if old[at : at + BLOCK] != new[at : at + BLOCK]]
    content = bytearray(old)
    first_lost = random.randrange(len(differing) + 1)
    for count, at in enumerate(differing):
        written = {
            "suffix": count < first_lost,
            "some": random.random() < 0.8,
            "none": False,
            "all": True,
        }[how]
        if written:
            content[at : at + BLOCK] = new[at : at + BLOCK]
        elif random.random() < 0.3:
            for index in range(at, min(at + BLOCK, size)):
                if old[index] != new[index]:  # what is durable there was not written otherwise
                    content[index] = random.randrange(256)
    return bytes(content)


class FollowedMachine(RuleBasedStateMachine):
    """An owner and a standby that lose their power, and catch up."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(journal, "_STRETCH_KEYS", 2)  # a pass takes many stretches
        self.patch.setattr(journal, "_FOLD_BYTES", 200)
        self.patch.setattr(journalfile, "STEP", 2048)
        self.patch.setattr(journalfile, "RESERVE", 512)
        self.patch.setattr(journal, "_SLACK_BYTES", 2048)
        self.disk = Disk(self.patch)
        self.directory = Path(tempfile.mkdtemp())
        self.log = MemoryLog()
        self.log.told = 0
        self.stores = {name: open_store(self.directory / name) for name in ("owner", "standby")}
        self.owner.follow(self.log)
        self.seq = 0
        self.mail: set[tuple[bytes, int]] = set()

    @property
    def owner(self) -> Store:
        return self.stores["owner"]

    def commit(self, change: Callable[[Batch], None]) -> None:
        with self.owner.writing() as batch:
            change(batch)

    @rule(
        box=st.sampled_from([BOB, CAROL]), entry=st.binary(max_size=40), key=st.binary(max_size=2)
    )
    def put_mail(self, box: bytes, entry: bytes, key: bytes) -> None:
        self.seq += 1

        def change(batch: Batch) -> None:
            batch.put_mail(box, Seq(self.seq), entry)
            batch.update_message(b"m" + key, entry)
            batch.owned_tree(LOG.name).put("bob", pack_seq(self.seq), entry)
            batch.put_last_seq(Seq(self.seq))

        self.commit(change)
        self.mail.add((box, self.seq))

    @precondition(lambda self: self.mail)
    @rule(data=st.data(), again=st.booleans())
    def pop_mail(self, data: st.DataObject, again: bool) -> None:
        box, seq = data.draw(st.sampled_from(sorted(self.mail)))

        def change(batch: Batch) -> None:
            batch.pop_mail(box, Seq(seq))
            batch.owned_tree(LOG.name).pop("bob", pack_seq(seq))
            if again:  # as receipts are when their author leaves
                batch.put_mail(box, Seq(seq), b"again")

        self.commit(change)
        if not again:
            self.mail.discard((box, seq))

    @rule(parts=st.integers(min_value=0, max_value=2))
    def change_sizes(self, parts: int) -> None:
        self.log.parts = parts

    @rule(most=st.integers(min_value=1, max_value=4))
    def confirm(self, most: int) -> None:
        assert self.log.told is not None
        self.log.told = min(len(self.log.records), self.log.told + most)
        self.owner.confirm()
        assert self.owner.last_number == self.log.told

    def confirm_all(self) -> None:
        self.confirm(len(self.log.records))

    @rule()
    def say_something_of_the_log(self) -> None:
        self.confirm_all()
        self.log.records.append(b"")
        self.log.told = len(self.log.records)
        self.owner.apply(len(self.log.records), b"")

    @rule(which=st.sampled_from(["owner", "standby"]), at_once=st.booleans())
    def fold(self, which: str, at_once: bool) -> None:
        store = self.stores[which]
        has_folded = store.fold(at_once=at_once)
        assert not (has_folded and store.given > store.last_number)

    @rule(most=st.integers(min_value=1, max_value=20))
    def follow(self, most: int) -> None:
        catch_up(self.stores["standby"], self.log, most)

    @rule()
    def change_places(self) -> None:
        self.confirm_all()
        catch_up(self.stores["standby"], self.log)
        self.stores = dict(zip(("standby", "owner"), self.stores.values(), strict=True))
        self.owner.follow(self.log)

    @rule(which=st.sampled_from(["owner", "standby"]), unconfirmed=st.integers(0, 3))
    def kill(self, which: str, unconfirmed: int) -> None:
        """End a process: the kernel has all that it wrote.

        Of what an owner had on its way some got into the log.
        """
        before = self.stores[which].last_number
        if which == "owner":
            least = max(self.log.confirmed, self.stores["standby"].last_number)
            self.log.lose(least + unconfirmed)
        self.reopen(which, self.stores[which].close)
        assert self.stores[which].last_number >= before

    @rule(which=st.sampled_from(["owner", "standby"]), seed=st.integers(0, 2**32))
    def cut_power(self, which: str, seed: int) -> None:
        store = self.stores[which]
        self.reopen(which, lambda: self.disk.cut_power(store._directory, store.close, Random(seed)))

    def reopen(self, which: str, end: Callable[[], None]) -> None:
        directory = self.stores[which]._directory
        end()
        snapshot = Snapshot(directory)  # it finds what a start does
        last = snapshot.last
        snapshot.close()
        store = self.stores[which] = open_store(directory)
        assert store.last == last
        self.every_store_is_a_beginning_of_the_log()
        if which == "owner":
            catch_up(store, self.log)
            self.log.told = len(self.log.records)
            store.follow(self.log)
            held_mail = self.log.trees(self.log.told).get("mail", {})
            self.mail = {each for each in self.mail if each[0] + pack_seq(each[1]) in held_mail}

    @invariant()
    def every_store_is_a_beginning_of_the_log(self) -> None:
        for store in getattr(self, "stores", {}).values():
            assert held(store) == self.log.trees(store.given)

    def teardown(self) -> None:
        if hasattr(self, "stores"):
            self.confirm_all()
            for store in self.stores.values():
                catch_up(store, self.log)
                fold_in(store)
                store._renew()
            assert held(self.stores["owner"]) == held(self.stores["standby"])
            for store in self.stores.values():
                store.close()
            shutil.rmtree(self.directory)
            self.patch.undo()


TestFollowed = pytest.mark.slow(FollowedMachine.TestCase)
TestFollowed.settings = settings(max_examples=15, stateful_step_count=50, deadline=None)
