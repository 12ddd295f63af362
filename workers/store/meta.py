"""What a store keeps of itself, in its tree `meta`: whose it is, and its counters by name.

Two names more are the journal's (workers.store.journal).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from relay.disk.layout import DATA_FORMAT
from relay.protocol.slots import SLOT_COUNT

SEQ_NAME: Final = b"seq"
FORGOTTEN_NAME: Final = b"forgotten"
MARK_NAME: Final = b"mark"
APPLIED_NAME: Final = b"applied:%d"
DAY_NAME: Final = b"day"
DATES_NAME: Final = b"dates"
CONFIRMED_NAME: Final = b"confirmed:%d"
WAITING_NAME: Final = b"waiting"


class Mark(msgspec.Struct, frozen=True):
    """Which store this is, written in it: one in another's place is told from the right one."""

    generation: Annotated[int, msgspec.Meta(ge=0)]
    workers: Annotated[int, msgspec.Meta(ge=1, le=SLOT_COUNT)]
    index: Annotated[int, msgspec.Meta(ge=0)]
    format: int = DATA_FORMAT

    def __post_init__(self) -> None:
        """Refuse a worker that is none of so many; where it is read, as a `DecodeError`."""
        if self.index >= self.workers:
            raise ValueError(f"worker {self.index} of {self.workers}")

    def __str__(self) -> str:
        return f"worker {self.index} of {self.workers}, generation {self.generation}"


encode_mark = msgspec.json.Encoder().encode
decode_mark = msgspec.json.Decoder(Mark).decode
