"""The file of a cluster with a host more, or one less: nothing else in it changes."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from relay.cluster.caller import cluster_of
from relay.cluster.command import cluster
from relay.cluster.keys import require_secrets
from relay.cluster.membership import NotChanged, with_host, without_host
from relay.invocation import invoke

THREE = ("a=10.0.0.1", "b=10.0.0.2", "c=10.0.0.3")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    assert invoke(cluster, ["init", *THREE, "--file", str(path)], name="relay cluster") == 0
    with path.open("a") as file:
        file.write("\n# Ours.\n[server]\nport = 8080\n")
    return path


def table(text: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(text)["cluster"]
    return found


def test_a_host_more_has_a_certificate_that_old_hosts_trust(path: Path, tmp_path: Path) -> None:
    before = cluster_of(path)

    changed = with_host(path.read_text(), before, "d=10.0.0.4")

    assert changed.is_signed_anew
    assert changed.text.endswith("\n# Ours.\n[server]\nport = 8080\n")
    (new := tmp_path / "new.toml").write_text(changed.text)
    new.chmod(0o600)
    after = cluster_of(new, "d")
    assert after.addresses == {**before.addresses, "d": "10.0.0.4"}
    require_secrets(after)
    same = ("ca", "ca_key", "password", "bus_public", "bus_secret", "name", "ranges")
    assert [getattr(after, each) for each in same] == [getattr(before, each) for each in same]
    require_secrets(
        structs.replace(
            before, certificate=after.certificate, certificate_key=after.certificate_key
        )
    )


def test_nothing_is_signed_for_an_address_that_the_certificate_names(path: Path) -> None:
    before = cluster_of(path)
    less = without_host(path.read_text(), before, "c")
    assert table(less.text) == {**table(path.read_text()), "hosts": list(THREE[:2])}

    changed = with_host(less.text, structs.replace(before, hosts=THREE[:2]), "e=10.0.0.3")

    assert not changed.is_signed_anew
    assert table(changed.text)["certificate"] == before.certificate.lstrip("\n")
    assert table(changed.text)["hosts"] == [*THREE[:2], "e=10.0.0.3"]


@pytest.mark.parametrize("host", ["a=10.0.0.9", "d=10.0.0.1"])
def test_a_name_or_address_is_of_one_host(path: Path, host: str) -> None:
    with pytest.raises(NotChanged, match="already"):
        with_host(path.read_text(), cluster_of(path), host)


def test_who_is_not_there_cannot_be_taken_out(path: Path) -> None:
    with pytest.raises(NotChanged, match="no host z"):
        without_host(path.read_text(), cluster_of(path), "z")


def test_without_the_key_of_the_authority_nothing_is_signed(path: Path) -> None:
    with pytest.raises(NotChanged, match="ca_key is not there"):
        with_host(path.read_text(), structs.replace(cluster_of(path), ca_key=""), "d=10.0.0.4")


def test_a_file_that_is_written_otherwise_is_left(path: Path) -> None:
    text = path.read_text().replace("[cluster]\n", '[other]\nhosts = ["x"]\n[cluster]\n')

    with pytest.raises(NotChanged, match="not written as"):
        with_host(text, cluster_of(path), "d=10.0.0.4")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "D=10.0.0.4"], 2, "cluster.hosts"),
        (["add", "a=10.0.0.4"], 1, "already"),
        (["add", "d=10.0.0.300"], 2, "cluster.hosts"),
    ],
)
def test_nothing_is_written_where_no_host_could_start_with_it(
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    to = tmp_path / "new.toml"

    said = invoke(cluster, [*arguments, "--config", str(path), "--to", str(to)], name="relay")

    assert said == code
    assert says in capsys.readouterr().err
    assert not to.exists()


def test_add_says_what_to_do(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "new.toml"

    arguments = ["add", "d=10.0.0.4", "--config", str(path), "--to", str(to)]
    assert invoke(cluster, arguments, name="relay cluster") == 0

    said = capsys.readouterr().out
    assert f"copy it to every host, in place of {path}: a, b, c, and d" in said
    assert f"relay serve --config {path} --host-name d" in said
    assert to.stat().st_mode & 0o777 == 0o600
    assert cluster_of(path).password not in said
