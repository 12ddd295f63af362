"""The targets by their names; each module has a `run` that takes the bytes."""

from __future__ import annotations

from typing import Final

# By name: what it is given, and what must hold.
TARGETS: Final = {
    "framing": "a client's stream: the same messages and answers as from the library alone",
    "door": "a request's head, and what proxies say: as the library takes it, in linear time",
    "codec": "a frame: a stanza or a FrameError, whichever way it is read, in linear time",
    "sheet": "an array in sheet notation: strict JSON or a FrameError, in linear time",
    "envelopes": "a batch of the bus: one that is encoded to the same, or a DecodeError",
    "journal": "a journal's files: trees that pages can take, or StoreDamaged",
    "storefile": "a store's file: taken or StoreDamaged, however its pages refer to each other",
    "items": "the items of a store: a check ends with a report",
}
