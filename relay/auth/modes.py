"""The modes by their names. A mode's libraries are loaded where it is the one in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from relay.auth.contract import Authenticator
from relay.auth.denied import NOBODY, DenyFile, read_deny_list
from relay.auth.listed import Listed
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError
from relay.settings.tables import Settings


def _nobody_asks() -> None:
    """Fetch no keys: nobody logs in here."""


def authenticator_of(
    settings: Settings, *, ask_for_keys: Callable[[], object] = _nobody_asks
) -> Authenticator | None:
    """Return what checks logins, None where nobody does (mode "open").

    `ask_for_keys` has keys that are not on the disk fetched, and given to it; it may be called
    more often than that is done.

    Raises:
        SettingsError: files that it needs are unusable: nobody may be let in then. It tells of all
            of them.
    """
    if settings.auth.mode == "open":
        return None
    path = settings.auth.deny_file
    file = SecretFile(path, "auth.deny_file", is_secret=False, if_empty=NOBODY) if path else None
    try:
        mode = _mode_of(settings, ask_for_keys)
    except SettingsError as error:
        raise SettingsError(*error.problems, *_problems_of(file)) from None
    return Listed(mode, DenyFile(file)) if file else mode


def _problems_of(deny_file: SecretFile | None) -> tuple[str, ...]:
    try:
        if deny_file:
            read_deny_list(deny_file)
    except SettingsError as error:
        return error.problems
    return ()


def _mode_of(settings: Settings, ask_for_keys: Callable[[], object]) -> Authenticator:
    match settings.auth.mode:
        case "token":
            # Tens of ms of imports that nobody else needs; so below.
            from relay.auth.token import TokenAuthenticator

            return TokenAuthenticator(settings.auth_token, ask_for_keys)
        case "http":
            from relay.auth.service import ServiceAuthenticator

            return ServiceAuthenticator(settings.auth_http)
        case "proxy":
            from relay.auth.named import NamedAuthenticator

            return NamedAuthenticator()
        case "open":
            raise AssertionError("nobody checks in this mode")
        case _:
            assert_never(settings.auth.mode)
