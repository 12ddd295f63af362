"""Another settings file while the relay runs."""

from typing import Any

import msgspec
import pytest

from relay.errors import SettingsError
from relay.settings.load import override
from relay.settings.reload import apply_live
from relay.settings.tables import NEEDS_RESTART, Settings
from tests.settings.harness import KEYS


def another(key: str, value: Any) -> Any:
    """Return another value of a setting, which goes with the defaults of all others."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, tuple):
        return (*value, "another.module" if key == "server.extensions" else "10.0.0.1")
    return value - 1 if key == "mailbox.ttl_days" else value + 1


@pytest.mark.parametrize("key", KEYS)
def test_a_change_is_applied_or_said_to_need_a_restart(key: str) -> None:
    table, _, name = key.partition(".")
    running = Settings()
    old = getattr(getattr(running, table), name)
    new = another(key, old)
    wanted = msgspec.structs.replace(
        running, **{table: msgspec.structs.replace(getattr(running, table), **{name: new})}
    )

    reload = apply_live(running, wanted)

    if key in NEEDS_RESTART:
        assert reload == (running, {}, [key])
    else:
        assert reload == (wanted, {key: (old, new)}, [])


def test_settings_that_are_the_same_change_nothing() -> None:
    assert apply_live(Settings(), Settings()) == (Settings(), {}, [])


def test_what_can_change_does_beside_what_cannot() -> None:
    wanted = override(Settings(), {"store.durability": "os", "store.min_free_bytes": 5})

    reload = apply_live(Settings(), wanted)

    assert reload.settings == override(Settings(), {"store.min_free_bytes": 5})
    assert reload.needs_restart == ["store.durability"]


def test_a_change_that_does_not_go_with_what_stays_is_refused() -> None:
    wanted = override(Settings(), {"flow.link_bytes": 2**24, "limits.frame_bytes": 2**24})

    with pytest.raises(
        SettingsError,
        match=r"flow\.link_bytes \(needs a restart to change\) = 8388608 must be at least"
        r" limits\.frame_bytes, here 16777216",
    ):
        apply_live(Settings(), wanted)


def test_a_reload_cannot_take_away_what_the_mode_of_logging_in_needs() -> None:
    running = override(Settings(), {"auth.mode": "proxy", "server.trusted_proxies": ["127.0.0.1"]})
    wanted = override(running, {"server.trusted_proxies": []})

    with pytest.raises(SettingsError, match=r'"proxy" needs server\.trusted_proxies'):
        apply_live(running, wanted)
