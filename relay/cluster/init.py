"""`relay cluster init`: writes the file that makes several hosts one relay."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from relay.cluster.backups import BackupUnusable, read_manifest
from relay.cluster.keys import Secrets, make_secrets
from relay.errors import SettingsError
from relay.settings.catalogue import OWN
from relay.settings.hosts import cluster_lacks
from relay.settings.layer import SourceLayer
from relay.settings.tables import Settings

_HEADER: Final = """\
# Several hosts that are one relay. It is the same on each of them, and holds their secrets:
# whoever has it can be a host. What is left out stays at its default; `relay config` shows all.

# Where clients come from. On an address that others reach, say who may be whom: see auth.mode.
# [server]
# host = "0.0.0.0"

[cluster]
"""


def init(
    hosts: Sequence[str],
    *,
    path: Path,
    name: str,
    witness: str,
    ranges: int | None,
    backup: Path | None = None,
) -> Iterator[str]:
    """Write a new file at `path` for `hosts`, each as "a=10.0.0.1"; yield what to do next.

    With a `backup` they are to begin where it ends.

    Raises:
        SettingsError: a line a mistake in what is asked for; nothing was written.
        BackupUnusable: the backup is none, or is of another number of ranges than `ranges`.
        click.ClickException: there is a file at `path`, or none can be made.
    """
    asked: dict[str, Any] = {"name": name, "hosts": list(hosts)}
    if witness:
        asked["witness"] = witness
    if backup is not None:
        numbers = read_manifest(backup).numbers
        if ranges not in (None, len(numbers)):
            raise BackupUnusable(
                f"--ranges {ranges}: {backup} has {len(numbers)} ranges, and they stay so many:"
                " leave it out"
            )
        ranges = len(numbers)
        asked["begins_behind"] = list(numbers)
    if ranges is not None:
        asked["ranges"] = ranges
    cluster = _checked(asked).cluster
    made = make_secrets(cluster.name, cluster.addresses.values())
    write_new(path, _HEADER + "".join(_lines({**asked, **made._asdict()})))
    names = [*cluster.addresses]
    yield f"{path} is written, for {_listed(names)}; whoever reads it can be one of them"
    yield "1. say in it who may come, and as whom: server.host and auth.mode"
    yield f"2. copy it to each: scp -p {path} {cluster.addresses[names[-1]]}:"
    yield "3. on each, have the engine: python -m pip install 'relay[cluster]'"
    yield f"4. start each by its name: relay serve --config {path} --host-name {names[0]}"
    if backup is not None:
        yield f"5. while they wait for it: relay cluster restore {backup} --config {path}"


def _checked(asked: dict[str, Any]) -> Settings:
    """Return the settings that are asked for; what init is yet to write is not judged.

    Raises:
        SettingsError: they are not allowed.
    """
    layer = SourceLayer(OWN, "", lambda key: _NAMES.get(key, key), strict=True)
    settings = layer.over(Settings(), {"cluster": asked})
    if layer.mistakes:
        raise SettingsError(*layer.mistakes)
    names = [*settings.cluster.addresses]
    cluster = msgspec.structs.replace(
        settings.cluster, host_name=names[0] if names else "", **_STAND_IN._asdict()
    )
    settings = msgspec.structs.replace(settings, cluster=cluster)
    mistakes = [line for _, line in cluster_lacks(settings)]
    if mistakes:
        raise SettingsError(*mistakes)
    return settings


# As the command line has them.
_NAMES: Final = {
    "cluster.name": "--name",
    "cluster.hosts": "HOSTS",
    "cluster.witness": "--witness",
    "cluster.ranges": "--ranges",
    "cluster.begins_behind": "--backup",
}
_STAND_IN: Final = Secrets(*["x"] * len(Secrets._fields))


def _lines(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, str) and "\n" in value:
            yield f'{name} = """\n{value}"""\n'
        else:
            # What is allowed here JSON and TOML write alike.
            yield f"{name} = {msgspec.json.encode(value).decode()}\n"


def write_new(path: Path, text: str) -> None:
    """Write a file of a cluster, which nobody else may read.

    Raises:
        click.ClickException: there is one, or none can be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise click.ClickException(
            f"{path} is there already, and is left as it is: its hosts would not know those of"
            " another file"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
