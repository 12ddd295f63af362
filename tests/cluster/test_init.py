"""`relay cluster init`: one file that makes hosts one relay, or one line that says why not."""

import stat
from pathlib import Path

import pytest

from relay.cluster.command import cluster
from relay.cluster.keys import require_secrets
from relay.invocation import invoke
from relay.settings.load import load_settings, override, resolve
from relay.settings.tables import Settings

THREE = ("a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3")


def init(*arguments: str) -> int:
    return invoke(cluster, ["init", *arguments], name="relay cluster")


def loaded(path: Path, host: str) -> Settings:
    """Return what host `host` runs with."""
    return resolve(override(load_settings(path), {"cluster.host_name": host}), cpu_count=2)


def test_the_file_starts_each_host_and_nobody_else_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.toml"

    assert init(*THREE, "--file", str(path)) == 0

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for host in ("a", "b", "c"):
        settings = loaded(path, host)
        require_secrets(settings.cluster)
        assert settings.cluster.addresses == {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
        assert settings.server.workers == settings.cluster.ranges == 16
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 5
    assert f"relay serve --config {path} --host-name a" in said
    assert settings.cluster.password not in said


def test_a_file_that_is_there_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text("mine")

    assert init(*THREE, "--file", str(path)) == 1

    assert path.read_text() == "mine"
    assert "is there already" in capsys.readouterr().err


def test_two_hosts_need_a_witness(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cluster.toml"

    assert init(*THREE[:2], "--file", str(path)) == 2
    assert "--witness w" in capsys.readouterr().err
    assert not path.exists()

    assert init(*THREE[:2], "w=10.0.0.9", "--witness", "w", "--file", str(path)) == 0
    settings = loaded(path, "w")
    assert settings.cluster.is_witness
    assert settings.cluster.serving == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (THREE[:1], "one host needs no cluster"),
        (("a=10.0.0.1", "a=10.0.0.2", "c=10.0.0.3"), '2 hosts have the name "a"'),
        (("a=10.0.0.1", "b=10.0.0.1", "c=10.0.0.3"), '2 hosts have the address "10.0.0.1"'),
        (("a=10.0.0.1", "b=10.0.0.300", "c=10.0.0.3"), "neither an IP address nor"),
        (("A=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3"), "HOSTS = "),
        (("10.0.0.1", "10.0.0.2", "10.0.0.3"), "HOSTS = "),
        ((*THREE, "--witness", "w"), 'cluster.witness = "w" is none of cluster.hosts: a, b, c'),
        ((*THREE, "--ranges", "0"), "--ranges = 0 is not allowed; it must be an integer from 1"),
        ((*THREE, "--ranges", "200"), "must be two for each of cluster.ranges, here 400"),
        ((*THREE, "--name", "My Relay"), "--name = "),
        ((), "Missing argument"),
    ],
)
def test_what_would_not_start_later_is_refused(
    arguments: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.toml"

    assert init(*arguments, "--file", str(path)) == 2

    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not path.exists()


def test_a_place_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(*THREE, "--file", str(tmp_path / "none" / "cluster.toml")) == 1
    assert "cannot be written" in capsys.readouterr().err
