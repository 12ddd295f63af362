"""Mode "proxy": whom a proxy has named gets in as that user."""

from __future__ import annotations

import pytest

from relay.auth.contract import Credentials, Denied, Granted, Peer, Verdict
from relay.auth.modes import authenticator_of
from relay.protocol.stanza import Token
from relay.settings.tables import AuthSettings, Settings

ALICE = "917069852821"
ANOTHER = Denied(401, "the login is of another user than remoteJid")


def verdict_on(named: str, user: str = ALICE) -> Verdict:
    mode = authenticator_of(Settings(auth=AuthSettings(mode="proxy")))
    assert mode is not None
    verdict = mode.check(Credentials(user, Token("any")), Peer("10.0.0.7", named=named), now_s=0)
    assert isinstance(verdict, Granted | Denied)
    return verdict


def test_the_user_that_was_named_gets_in() -> None:
    assert verdict_on(ALICE) == Granted()
    assert verdict_on("asha.k", user="asha.k") == Granted()


def test_who_was_not_named_does_not() -> None:
    assert verdict_on("") == Denied(401, "no proxy has said who this is")


@pytest.mark.parametrize(
    "named",
    [
        "919428284313",
        f"+{ALICE}",
        f"{ALICE}@c.us",
        f"{ALICE}:1",
        f"{ALICE}_1",
        f"{ALICE},{ALICE}",
        f"{ALICE} ",
        f"{ALICE}\0",
        ALICE[:-1] + "\u00b9",
        "(null)",
        "-",
    ],
)
def test_a_name_counts_as_it_is_written(named: str) -> None:
    """Two users of a proxy must not become one because a jid may be spelled in many ways."""
    assert verdict_on(named) == ANOTHER


def test_names_differ_by_their_case() -> None:
    assert verdict_on("Asha", user="asha") == ANOTHER
