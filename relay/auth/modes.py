"""The modes by their names. A mode's libraries are loaded where it is the one in force."""

from __future__ import annotations

from typing import assert_never

from relay.auth.contract import Authenticator
from relay.settings.tables import AuthSettings


def authenticator_of(settings: AuthSettings) -> Authenticator | None:
    """Return what checks logins, None where nobody does (mode "open").

    Raises:
        SettingsError: a file that it needs is unusable: nobody may be let in then.
    """
    match settings.mode:
        case "open":
            return None
        case "token":
            # Tens of ms of imports that nobody else needs; so below.
            from relay.auth.token import TokenAuthenticator

            return TokenAuthenticator(settings)
        case "http":
            from relay.auth.service import ServiceAuthenticator

            return ServiceAuthenticator(settings)
        case _:
            assert_never(settings.mode)
