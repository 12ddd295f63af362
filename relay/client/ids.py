"""Ids for new messages."""

import secrets
import time


def new_message_id() -> str:
    """Return `3EB0`, as is customary, the second in 8 digits, and 48 random bits.

    What a relay remembers lies in the order of ids. Those of one time lie together, so that they
    share pages of its store (BENCHMARKS.md, history).
    """
    return f"3EB0{int(time.time()):08X}{secrets.token_hex(6).upper()}"
