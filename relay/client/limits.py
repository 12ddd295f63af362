"""The bounds of one client."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one client, and the pace of its reconnects and signs of life.

    The defaults hold everything that a relay with default limits keeps for one user, so that
    nothing has to be fetched twice.
    """

    unacked_sends: int = 10_000
    held_messages: int = 10_000
    held_bytes: int = 64 * 1024 * 1024
    held_notices: int = 10_000
    # Messages whose repeat is recognised, acks that wait for a connection, and receipts whose
    # repeat is recognised: the oldest are forgotten first.
    remembered: int = 20_000
    frame_bytes: int = 256 * 1024  # the relay's own limit; a larger frame costs the connection
    # Between two texts that say that this program lives: the relay takes them to confirm the
    # receipts that it has sent (PROTOCOL R7). An idle client that sends none gets them again.
    keepalive_s: float = 20.0
    # From a receipt to such a text: the relay's ping, its pong and a second are then over.
    confirm_s: float = 2.5
    answer_s: float = 10.0  # for the answer to such a text; else the connection is dead
    login_s: float = 15.0  # for connecting, and again for the answer to the login
    reconnect_min_s: float = 0.5
    reconnect_max_s: float = 30.0
