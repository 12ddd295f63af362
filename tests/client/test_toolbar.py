"""The bar below a conversation in a terminal."""

import pytest

from relay.client.conversation import toolbar

ASHA, BEN = "917069852821", "919428284313"
GROUP = "917069852821-1566557065@g.us"


@pytest.mark.parametrize(
    ("to", "subject", "shown"),
    [(BEN, "", BEN), (GROUP, "", GROUP), (GROUP, "Hike \x1b[31m", "Hike ␛[31m")],
)
def test_the_bar_says_whose_connection_it_is_about(to: str, subject: str, shown: str) -> None:
    bar = toolbar(ASHA, "connected", to, subject)

    assert bar == f" you: {ASHA} (connected) | to: {shown} | /help | Ctrl-D leaves"
