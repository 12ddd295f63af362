"""What a supervisor holds: each thing once, and given back however it ends."""

import errno
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from relay.errors import BootError
from relay.supervision.claims import (
    MAX_RUN_DIR_BYTES,
    PREDECESSOR_S,
    RUN_DIR_PREFIX,
    Claims,
    DataClaim,
    claim_port,
    make_run_dir,
    remove_run_dir,
    share,
)

# --- the data directory ---


def test_a_missing_data_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    claim = DataClaim(tmp_path / "a" / "data")

    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700
    claim.release()


def test_a_second_claim_names_the_holder_and_a_third_after_the_release_succeeds(
    tmp_path: Path,
) -> None:
    first = DataClaim(tmp_path)
    with pytest.raises(BootError, match=rf"another supervisor \(pid {os.getpid()}\)"):
        DataClaim(tmp_path)

    first.release()

    DataClaim(tmp_path).release()


@pytest.mark.parametrize("below", ["", "data"])
def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(BootError, match="cannot be used"):
        DataClaim(file / below)


def test_the_run_directory_of_a_killed_supervisor_is_found(tmp_path: Path) -> None:
    killed = tmp_path / f"{RUN_DIR_PREFIX}killed"
    killed.mkdir()
    claim = DataClaim(tmp_path / "data")
    claim.note_run_dir(killed)
    content = (tmp_path / "data" / "lock").read_bytes()
    claim.release()
    (tmp_path / "data" / "lock").write_bytes(content)  # as if it had not been released

    claim = DataClaim(tmp_path / "data")

    assert claim.left_behind == (killed,)
    claim.release()


def test_what_is_released_is_nobody_s_and_keeps_its_place_on_the_disk(tmp_path: Path) -> None:
    """An emptied file gives its block away, and a full disk has none for the next note."""
    claim = DataClaim(tmp_path)
    claim.note_run_dir(tmp_path / f"{RUN_DIR_PREFIX}gone")
    claim.release()

    assert (tmp_path / "lock").stat().st_blocks
    claim = DataClaim(tmp_path)
    assert claim.left_behind == ()
    claim.release()


@pytest.mark.parametrize("dies_in", ["pwrite", "ftruncate"])
def test_a_kill_while_the_note_is_written_loses_no_run_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    killed = tmp_path / f"{RUN_DIR_PREFIX}killed-and-with-a-longer-name"
    killed.mkdir()
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "run_dirs": [str(killed)]}) + " " * 99)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            DataClaim(tmp_path)

    claim = DataClaim(tmp_path)
    assert claim.left_behind == (killed,)
    claim.release()


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"garbage",
        b'{"pid":1,"run_dirs":["\xff"]}',
        b'{"pid":1,"run_dirs":["/etc"]}',
        b'{"pid":1,"run_dirs":["relay-relative"]}',
        b'{"pid":1,"run_dirs":["/nowhere/relay-gone"]}',
    ],
)
def test_nothing_else_is_taken_for_a_run_directory(tmp_path: Path, note: bytes) -> None:
    (tmp_path / "lock").write_bytes(note)

    claim = DataClaim(tmp_path)

    assert claim.left_behind == ()
    claim.release()


# --- the port ---


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server with the options of a front: any process of the same user could share its port."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_port_0_takes_a_free_port() -> None:
    with claim_port("127.0.0.1", 0) as holder:
        assert holder.getsockname()[1] > 0


def test_a_port_with_a_listener_is_in_use(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(BootError, match=f"port {port} on 127.0.0.1 is in use"):
        claim_port("127.0.0.1", port)


def test_a_held_port_is_in_use_though_no_one_listens() -> None:
    with claim_port("127.0.0.1", 0) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(BootError, match="is in use"):
            claim_port("127.0.0.1", port)

    claim_port("127.0.0.1", port).close()


def test_fronts_can_listen_on_a_held_port() -> None:
    with claim_port("127.0.0.1", 0) as holder, socket.socket() as a, socket.socket() as b:
        for front in (a, b):
            front.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            front.bind(holder.getsockname())
            front.listen()

        with socket.create_connection(holder.getsockname(), timeout=5):
            pass


def test_closed_connections_do_not_keep_a_port(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = listener.accept()
        accepted.close()  # first, so the server's side goes to TIME_WAIT
        assert client.recv(1) == b""
    listener.close()

    claim_port("127.0.0.1", port).close()


@pytest.mark.parametrize(
    ("host", "complaint"),
    [("192.0.2.1", "cannot be used"), ("no-such-host.invalid", "is unknown")],
)
def test_a_host_that_is_not_of_this_machine_is_refused(host: str, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint):
        claim_port(host, 0)


# --- the run directory ---


def test_a_run_directory_is_private_and_goes_with_its_content() -> None:
    path = make_run_dir(Path("/nonexistent"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    (path / "w0-1.sock").touch()

    remove_run_dir(path)
    remove_run_dir(path)

    assert not path.exists()


def test_a_run_directory_is_short_though_the_usual_place_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))

    path = make_run_dir(Path("/nonexistent"))

    try:
        assert len(os.fsencode(path)) <= MAX_RUN_DIR_BYTES
        with socket.socket(socket.AF_UNIX) as longest:
            longest.bind(str(path / "w255-9999999999.sock"))
    finally:
        remove_run_dir(path)


def test_a_run_directory_is_in_the_one_that_a_service_manager_has_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tempfile.TemporaryDirectory(prefix="relay-test-") as made:
        monkeypatch.setenv("RUNTIME_DIRECTORY", f"{made}:{tmp_path}")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

        first, second = (make_run_dir(Path("/nonexistent")) for _ in range(2))

        assert {first.parent, second.parent} == {Path(made)}  # two relays may share it
        assert first != second


def test_a_run_directory_is_in_the_data_directory_where_nothing_else_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    data = Path(tempfile.mkdtemp(prefix="relay-test-"))

    def read_only(*, prefix: str, dir: str) -> str:
        if dir != str(data):
            raise OSError(errno.EROFS, "Read-only file system")
        return make(prefix=prefix, dir=dir)

    monkeypatch.setattr(tempfile, "mkdtemp", read_only)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/0")

    path = make_run_dir(data)

    assert path.parent == data
    assert path.name.startswith(RUN_DIR_PREFIX)
    remove_run_dir(data)
    with pytest.raises(BootError) as refusal:
        make_run_dir(tmp_path / ("d" * 100))
    assert "/run/user/0: Read-only file system; " in str(refusal.value)
    assert "its path is too long for the sockets" in str(refusal.value)
    assert "\n" not in str(refusal.value)


# --- all of it ---


def left_behind_by_a_kill(tmp_path: Path) -> Path:
    """Have the data directory as a killed supervisor leaves it; return its run directory."""
    killed = tmp_path / f"{RUN_DIR_PREFIX}killed"
    killed.mkdir()
    (tmp_path / "lock").write_text(json.dumps({"pid": 1, "run_dirs": [str(killed)]}) + "\n")
    return killed


def test_all_that_is_held_is_given_back_at_once(tmp_path: Path) -> None:
    killed = left_behind_by_a_kill(tmp_path)
    claims = Claims(DataClaim(tmp_path), now_s=0.0)
    found = claims.claim_port("127.0.0.1", 0, now_s=0.0)
    assert found
    run_dir = claims.make_run_dir()
    note = json.loads((tmp_path / "lock").read_bytes())
    assert note["run_dirs"] == [str(run_dir), str(killed)]

    claims.release()

    assert not run_dir.exists()
    assert not killed.exists()
    successor = Claims(DataClaim(tmp_path), now_s=0.0)
    assert successor.claim_port(*found, now_s=0.0) == found
    successor.release()


def test_the_run_directory_is_made_again_when_it_is_gone(tmp_path: Path) -> None:
    claims = Claims(DataClaim(tmp_path), now_s=0.0)
    assert not claims.keep_run_dir()  # there is none yet
    run_dir = claims.make_run_dir()
    assert not claims.keep_run_dir()

    run_dir.rmdir()
    assert claims.keep_run_dir()
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700

    # Somebody else's directory of that name is not taken for it.
    run_dir.rmdir()
    run_dir.mkdir()
    run_dir.chmod(0o777)
    with pytest.raises(FileExistsError):
        claims.keep_run_dir()
    claims.release()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_who_waits_in_the_queue_of_a_seat_is_the_next_ones(tmp_path: Path, host: str) -> None:
    claims = Claims(DataClaim(tmp_path), now_s=0.0)
    found = claims.claim_port(host, 0, now_s=0.0)
    assert found

    first = claims.listener(0).dup()  # as a front has it
    first.listen()
    with socket.create_connection(found, timeout=5) as client:
        first.close()
        assert claims.listener(0) is claims.listener(0)
        successor = claims.listener(0).dup()
        successor.listen()
        accepted, _ = successor.accept()
        accepted.sendall(b"x")
        assert client.recv(1) == b"x"
        accepted.close()
    successor.close()

    claims.close_listeners()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(found, timeout=5)
    claims.release()


def test_a_port_that_was_given_is_every_fronts_and_nobody_in_it_is_sent_away(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as manager:
        found = manager.getsockname()
        claims = Claims(DataClaim(tmp_path), now_s=0.0, given=(manager.dup(),))
        assert claims.claim_port("127.0.0.1", 1, now_s=0.0) == found  # and not port 1

        assert claims.listener(0) is claims.listener(1)
        with socket.create_connection(found, timeout=5) as client:
            claims.close_listener(0)
            claims.close_listeners()
            claims.release()
            accepted, _ = manager.accept()
            accepted.sendall(b"x")
            assert client.recv(1) == b"x"
            accepted.close()


def test_a_port_that_was_given_stays_so_in_another_program_of_the_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        claims = Claims(DataClaim(tmp_path), now_s=0.0, given=(a.dup(), b.dup()))
        claims.make_run_dir()
        held = claims.held
        copies = {fd: os.dup(fd) for fd in held.descriptors}

        successor = Claims.taken_over(
            msgspec.structs.replace(
                held,
                lock=copies[held.lock],
                port=copies[held.port],
                given=tuple(copies[fd] for fd in held.given),
            )
        )

        ports = [each.getsockname()[1] for each in (a, b)]
        shared_out = [successor.listener(front).getsockname()[1] for front in range(3)]
        assert shared_out == [*ports, ports[0]]
        successor.release()
        claims.release()


def test_every_address_of_ipv6_is_every_address(tmp_path: Path) -> None:
    with claim_port("::", 0) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(BootError, match="is in use"):
            claim_port("127.0.0.1", port)
        with share(holder) as listener:
            listener.listen()
            socket.create_connection(("127.0.0.1", port), timeout=5).close()


def test_what_is_held_goes_on_in_another_program_of_the_process(tmp_path: Path) -> None:
    claims = Claims(DataClaim(tmp_path), now_s=0.0)
    found = claims.claim_port("127.0.0.1", 0, now_s=0.0)
    assert found
    claims.make_run_dir()
    claims.listener(1)
    held = claims.held
    copies = {fd: os.dup(fd) for fd in held.descriptors}  # as an exec keeps them

    successor = Claims.taken_over(
        msgspec.structs.replace(
            held,
            lock=copies[held.lock],
            port=copies[held.port],
            listeners={n: copies[fd] for n, fd in held.listeners.items()},
        )
    )

    with pytest.raises(BootError, match="in use by another supervisor"):
        DataClaim(tmp_path)
    assert successor.held.listeners.keys() == {1}
    assert successor.listener(1).getsockname() == found
    successor.release()
    assert not Path(held.run_dir).exists()
    claims.release()  # the descriptors that no exec has closed here


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else holds."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_port_in_use_is_refused_at_once(tmp_path: Path, taken: int) -> None:
    claims = Claims(DataClaim(tmp_path), now_s=0.0)

    with pytest.raises(BootError, match="in use"):
        claims.claim_port("127.0.0.1", taken, now_s=0.0)

    claims.release()


def test_what_a_killed_supervisor_left_may_hold_the_port_for_a_while(
    tmp_path: Path, taken: int
) -> None:
    left_behind_by_a_kill(tmp_path)
    claims = Claims(DataClaim(tmp_path), now_s=100.0)

    assert claims.claim_port("127.0.0.1", taken, now_s=100.0 + PREDECESSOR_S) is None
    with pytest.raises(BootError, match="in use"):
        claims.claim_port("127.0.0.1", taken, now_s=100.1 + PREDECESSOR_S)

    claims.release()


def test_a_listener_that_could_not_be_bound_again_stays_bound_and_resets_who_waits(
    tmp_path: Path,
) -> None:
    claims = Claims(DataClaim(tmp_path), now_s=0.0)
    _, port = claims.claim_port("127.0.0.1", 0, now_s=0.0) or ("", 0)
    claims.bind_for_good(2)
    listener = claims.listener(0)
    listener.listen()
    with socket.create_connection(("127.0.0.1", port), 5.0) as waits:
        claims.close_listener(0)
        with pytest.raises(ConnectionResetError):
            waits.recv(1)

    assert claims.listener(0) is listener
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5.0)
    listener.listen()
    socket.create_connection(("127.0.0.1", port), 5.0).close()
    claims.close_listeners()  # of seats in which nobody has listened, too
    claims.release()
    assert listener.fileno() == -1
