"""The relay's own tables, as a whole."""

import configparser
from typing import Any

import msgspec
import pytest

from relay.settings.load import resolve
from relay.settings.tables import NEEDS_RESTART, SETTINGS, Settings
from tests.settings.harness import CONFIG


def test_systemd_waits_longer_than_the_supervisor_drains() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(CONFIG / "relay.service", encoding="utf-8")

    assert float(unit["Service"]["TimeoutStopSec"]) > Settings().supervisor.stop_deadline_s
    assert unit["Service"]["KillMode"] == "mixed"
    assert unit["Service"]["RestartPreventExitStatus"] == "2"


def test_the_resolved_settings_survive_the_way_to_a_child_process() -> None:
    settings = resolve(Settings(), cpu_count=4)

    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings


def test_settings_that_know_no_extensions_yet_can_be_read() -> None:
    """A process that starts during an upgrade may find the settings.json of the version before."""
    before: dict[str, Any] = msgspec.to_builtins(Settings())
    del before["extensions"], before["server"]["extensions"]

    assert msgspec.json.decode(msgspec.json.encode(before), type=Settings) == Settings()


def test_a_key_that_is_unknown_is_refused_where_the_children_read_it() -> None:
    for text in (b'{"sever": {}}', b'{"server": {"prot": 1}}'):
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            msgspec.json.decode(text, type=Settings)


def test_what_cannot_change_while_the_relay_runs_needs_a_restart() -> None:
    server = {f"server.{name}" for name in Settings().server.__struct_fields__}
    # These are asked about at each handshake.
    server -= {"server.allowed_origins", "server.trusted_proxies"}
    server -= {"server.forwarded_header", "server.proxy_protocol"}

    of_modes = {key for key in SETTINGS if key.startswith("auth_")}

    admin = {f"admin.{name}" for name in Settings().admin.__struct_fields__}
    webhooks = {f"webhooks.{name}" for name in ("url", "secret_file", "ca_file")}
    live = {"admin.ask_within_s", "admin.backup_directory"}

    cluster = {f"cluster.{name}" for name in Settings().cluster.__struct_fields__}

    assert server | of_modes | webhooks | cluster | admin - live | {
        "auth.deny_file",
        "auth.mode",
        "flow.link_bytes",
        "store.compact",
        "store.durability",
        "store.map_bytes",
    } == (NEEDS_RESTART)


@pytest.mark.parametrize("key", SETTINGS)
def test_a_key_ends_with_its_unit(key: str) -> None:
    name = key.removesuffix("_per_s")
    unit = next((unit for unit in ("bytes", "days", "s") if name.endswith(f"_{unit}")), "")

    assert SETTINGS[key].row.unit == unit


@pytest.mark.parametrize("key", SETTINGS)
def test_a_comment_is_one_or_more_sentences(key: str) -> None:
    comment = SETTINGS[key].row.comment

    assert comment.endswith(".")
    assert comment == " ".join(comment.split()), "it is wrapped where it is written"
