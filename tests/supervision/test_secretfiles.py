"""The files with secrets: every one that is unusable is told, not only the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.errors import SettingsError
from relay.settings.commandline import Sources
from relay.settings.tables import Settings
from relay.supervision.secretfiles import read_secrets, read_webhook_secrets


def settings(tmp_path: Path, **options: object) -> Settings:
    config = tmp_path / "relay.toml"
    config.write_text("")
    return Sources(config, dict(options)).load()


def test_nothing_is_read_where_nothing_is_named(tmp_path: Path) -> None:
    given = settings(tmp_path)

    read_secrets(given)
    read_webhook_secrets(given)


def test_all_that_is_unusable_is_told_at_once(tmp_path: Path) -> None:
    keys, secret = tmp_path / "keys", tmp_path / "secret"
    given = settings(
        tmp_path,
        **{
            "auth.mode": "token",
            "auth_token.secret_file": str(keys),
            "webhooks.url": "https://hooks.example.org/",
            "webhooks.secret_file": str(secret),
        },
    )

    with pytest.raises(SettingsError) as raised:
        read_secrets(given)

    about_keys, about_secret = raised.value.problems
    assert str(keys) in about_keys
    assert str(secret) in about_secret
    with pytest.raises(SettingsError, match="secret"):
        read_webhook_secrets(given)
