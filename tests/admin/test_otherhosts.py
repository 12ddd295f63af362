"""What the admins of other hosts ask: noise is passed over, whatever is wrong with it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from relay.admin.otherhosts import OtherHosts
from relay.inquiries.contract import Answered, Forwarded
from tests.abroad import cluster_settings

# Who asks what: a name that is no UTF-8, and what is nested too deeply.
NO_TEXT = b"\x95\xa2\xff\xfe\x00\x00\xa0\xc0"
DEEP = b"\x95\xa5front\x00\x00\xa0" + b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize("payload", [b"", b"\xc1", NO_TEXT, DEEP])
def test_what_cannot_be_read_ends_no_admin(payload: bytes) -> None:
    async def serve(asked: Forwarded) -> Answered:
        raise AssertionError(asked)

    async def run() -> None:
        counters: Counter[str] = Counter()
        loop = asyncio.get_running_loop()
        others = OtherHosts(cluster_settings("a"), loop, serve, counters)
        try:
            others._take(payload, "a.reply", False)
            await asyncio.sleep(0)
        finally:
            others.close()
        assert counters == {"asked_by_other_hosts": 1}

    asyncio.run(run())
