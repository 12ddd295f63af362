"""The systemd units: systemd understands them, and they say what the relay's settings need."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relay.settings.tables import Settings
from relay.supervision.hangs import STUCK_AFTER_S
from relay.supervision.renewal import REHEARSAL_S, RENEW_WITHIN_S

CONFIG = Path(__file__).parents[2] / "config"

# What a unit must not lose: each of them takes something from whoever gets in.
HARDENING = {
    **dict.fromkeys(["NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices"], "yes"),
    **dict.fromkeys(["ProtectKernelModules", "ProtectKernelTunables", "RestrictSUIDSGID"], "yes"),
    **dict.fromkeys(["RestrictNamespaces", "MemoryDenyWriteExecute", "LockPersonality"], "yes"),
    **dict.fromkeys(["CapabilityBoundingSet", "AmbientCapabilities"], ""),
    "ProtectSystem": "strict",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "User": "relay",
    "UMask": "0077",
}


def unit(name: str) -> configparser.ConfigParser:
    parsed = configparser.ConfigParser(strict=False, interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(CONFIG / name, encoding="utf-8")
    return parsed


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_understands_both_units(tmp_path: Path) -> None:
    for name in ("relay.service", "relay.socket"):
        text = (CONFIG / name).read_text()
        text = text.replace("/opt/relay/current/.venv/bin/python", sys.executable)
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "relay.service", tmp_path / "relay.socket"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_the_watchdog_waits_longer_than_a_renewal_of_the_supervisor_and_a_hang_take() -> None:
    watchdog_s = float(unit("relay.service")["Service"]["WatchdogSec"])
    supervisor = Settings().supervisor

    # Signs of life go on during a rehearsal; between two of them is half of it, at most.
    assert watchdog_s / 2 > RENEW_WITHIN_S
    assert watchdog_s > supervisor.hung_after_s + STUCK_AFTER_S
    assert watchdog_s >= REHEARSAL_S


def test_the_run_directory_is_where_operators_outside_of_the_unit_find_it() -> None:
    service = unit("relay.service")["Service"]

    # /tmp is the unit's own, and whoever reaches the socket may do what operators may.
    assert service["PrivateTmp"] == "yes"
    assert (service["RuntimeDirectory"], service["RuntimeDirectoryMode"]) == ("relay", "0700")


def test_the_service_is_hardened() -> None:
    service = unit("relay.service")["Service"]

    assert {key: service[key] for key in HARDENING} == HARDENING


def test_the_socket_has_the_address_of_the_default_settings() -> None:
    server, sock = Settings().server, unit("relay.socket")["Socket"]

    assert sock["ListenStream"] == f"{server.host}:{server.port}"
    assert "Accept" not in sock  # which would start a relay a client
