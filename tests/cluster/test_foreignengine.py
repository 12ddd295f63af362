"""NATS servers of the operator: real ones, that sync always or do not, or cannot be asked."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.cluster.engineconfig import Material, engine_config
from relay.cluster.engineprocess import find_program
from relay.cluster.foreignengine import ask
from relay.cluster.keys import make_secrets
from relay.process.exitcodes import CANNOT_BOOT
from relay.settings.clustering import ClusterSettings
from relay.settings.sizes import MIB
from tests.cluster.engine_harness import ADDRESSES, EngineOf, cluster_settings, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ordeal]

SECRETS = make_secrets("trial", ADDRESSES.values())
MADE = SECRETS._asdict()


def user_of(cluster: ClusterSettings, **others: Any) -> ClusterSettings:
    """Return settings by which the servers of `cluster` are the operator's."""
    urls = tuple(f"nats://{address}:{cluster.engine_port}" for address in ADDRESSES.values())
    return msgspec.structs.replace(cluster, engine=urls, **others)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ClusterSettings]]:
    """A function that runs one nats-server whose configuration was changed somewhere."""
    (tmp_path / "pem").mkdir()
    names = ("ca", "certificate", "certificate_key")
    for name in names:
        (tmp_path / "pem" / name).write_text(getattr(SECRETS, name))
    material = Material(*(str(tmp_path / "pem" / name) for name in names))
    with ExitStack() as stack:

        def run(changes: dict[str, str]) -> ClusterSettings:
            cluster = cluster_settings(**MADE)
            text = engine_config(cluster, store=str(tmp_path / "store"), material=material)
            for old, new in changes.items():
                assert old in text
                text = text.replace(old, new)
            config = tmp_path / "nats.conf"
            config.write_text(text)
            log = tmp_path / "nats.log"
            process = stack.enter_context(
                subprocess.Popen([find_program(), "-c", config, "-l", log])
            )
            stack.callback(process.kill)
            wait_for(lambda: log.exists() and "Server is ready" in log.read_text())
            return user_of(cluster)

        yield run


def test_three_servers_that_sync_always_are_taken(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = cluster_settings(**MADE)
    with ExitStack() as stack:
        for host in ADDRESSES:
            stack.enter_context(EngineOf(cluster, host, tmp_path)).wait_ready()
        wait_for(lambda: ask(user_of(cluster), least_payload=MIB) == "")

        user = stack.enter_context(EngineOf(user_of(cluster), "a", tmp_path / "user"))

        user.wait_ready()
        wait_for(lambda: user.listen() and user.beats)
        assert user.stop() == 0


def test_one_that_acks_before_it_syncs_is_not(
    serve: Callable[..., ClusterSettings], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster = serve({'sync_interval: "always"': 'sync_interval: "2m"'})

    assert "NATS server a acks what it has not synced" in ask(cluster, least_payload=MIB)
    with EngineOf(cluster, "a", tmp_path) as user:
        assert user.exit_code() == CANNOT_BOOT
    log = capfd.readouterr().err
    assert "process.cannot_boot" in log
    assert "acks what it has not synced" in log


def test_one_that_takes_less_than_a_record_may_have_is_not(
    serve: Callable[..., ClusterSettings], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the process of the relay ends with a sentence, not with records that nobody takes."""
    cluster = serve({"max_payload: 8388608": f"max_payload: {MIB - 1}"})

    assert f"takes messages of {MIB - 1} bytes at most" in ask(cluster, least_payload=MIB)
    assert "3 are needed for a majority" in ask(cluster, least_payload=MIB - 1)
    with EngineOf(cluster, "a", tmp_path) as user:
        assert user.exit_code() == CANNOT_BOOT
    assert f"set max_payload: {MIB} or more on each" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({'"user": "system"': '"user": "someone"'}, "Authorization Violation"),
        (
            {
                'system_account: "SYSTEM"': 'system_account: "S2"',
                "  SYSTEM {": "  S2 {}\n SYSTEM {",
            },
            "nobody answers the user",
        ),
    ],
)
def test_one_that_does_not_say_is_not(
    serve: Callable[..., ClusterSettings], changes: dict[str, str], said: str
) -> None:
    problem = ask(serve(changes), least_payload=MIB)

    assert "NATS cannot be asked whether it syncs always" in problem
    assert said in problem


def test_one_that_is_not_there_is_not() -> None:
    problem = ask(user_of(cluster_settings(**MADE)), least_payload=MIB)

    assert "NATS cannot be asked whether it syncs always" in problem
    assert SECRETS.password not in problem
