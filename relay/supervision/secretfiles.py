"""The files that say who may come in, or sign what is posted: unusable ones are told at once."""

from __future__ import annotations

from relay.auth.modes import authenticator_of
from relay.errors import SettingsError
from relay.settings.tables import Settings
from relay.webhooks.signing import Secrets


def read_secrets(settings: Settings) -> None:
    """Read every one that the settings name.

    Raises:
        SettingsError: what is unusable of them.
    """
    problems: list[str] = []
    try:
        authenticator_of(settings)
    except SettingsError as error:
        problems += error.problems
    try:
        read_webhook_secrets(settings)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(*problems)


def read_webhook_secrets(settings: Settings) -> None:
    """Read the secrets that webhooks are signed with, if there are to be some.

    Raises:
        SettingsError: what is unusable of them.
    """
    if settings.webhooks.secret_file:
        Secrets(settings.webhooks.secret_file)
