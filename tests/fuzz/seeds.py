"""Inputs to begin with, made by the relay's own encoders, so that they follow its formats."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec
from websockets.frames import Frame, Opcode

from relay.bus import envelopes
from relay.bus.envelopes import (
    Content,
    Durable,
    FrontBatch,
    PeerBatch,
    Seq,
    ToFront,
    ToPeer,
    ToWorker,
    WorkerBatch,
)
from tests.documents import blocks_in, read
from tests.workers.store.pages import BRANCH, child, page, store_pages
from tests.workers.tools.harness import (
    DIARY,
    cluster_on,
    fill,
    hold_up,
    lay_out,
    snapshots_of,
    write_owned,
)

# Modules of targets, whose input formats these are.
from .targets import framing, items, journal

_ITEMS_A_TREE: Final = 3


def _framing() -> Iterator[bytes]:
    texts = [b"", b"text", b"x" * 126, b"x" * framing.MAX_SIZE, b"x" * (framing.MAX_SIZE + 1)]
    frames = [
        *(Frame(Opcode.TEXT, text) for text in texts),
        Frame(Opcode.BINARY, b"binary"),
        Frame(Opcode.PING, b"ping"),
        Frame(Opcode.PONG, b"pong"),
        Frame(Opcode.TEXT, b"one", fin=False),
        Frame(Opcode.CONT, b"two"),
        Frame(Opcode.CLOSE, b"\x03\xe8bye"),
    ]
    raw = [*(frame.serialize(mask=True) for frame in frames), b"\xc1\x80mask"]
    for head in (b"\xff\xff\x07\xff", b"\x01\x06\x00\x00"):
        yield head + b"".join(raw[:2] + raw[5:10] + raw[1:2])
        for each in raw:
            yield head + each + raw[1]
    yield b"\xff\xff\x07\xff" + Frame(Opcode.TEXT, b"unmasked").serialize(mask=False)


def _door() -> Iterator[bytes]:
    request = (
        b"GET / HTTP/1.1\r\nHost: a.example\r\nOrigin: https://a.example\r\n"
        b"X-Forwarded-For: 192.0.2.1, [2001:db8::5]:80, 10.0.0.8\r\n"
        b'Forwarded: for="[2001:db8::5]:80";proto=https, for=192.0.2.1:1, for=_x\r\n\r\n'
    )
    yield request
    yield b"PROXY TCP4 192.0.2.1 10.0.0.7 56324 9011\r\n" + request
    yield b"PROXY TCP6 2001:db8::5 ::1 1 2\r\n"
    yield b"PROXY UNKNOWN\r\n"
    addresses = b"\xc0\0\x02\x01\x0a\0\0\x07\xdc\x04\x23\x33"
    yield b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + addresses + request
    yield b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0" + b"OPTIONS / HTTP/1.0\r\n\r\n"


def _frames() -> Iterator[bytes]:
    for block in blocks_in(read("docs/protocol.md")):
        if block.language == "json":
            for line in block.text.splitlines():
                yield line.encode()
    yield b"[Msg,{'id': '3EB0A1ED1B05362823BC', 'ack': 2, 'cmd': 'ack', 't': '1566971275',}]"
    yield b"""r1,["query", {"type": "server"}]"""


def _envelopes() -> Iterator[bytes]:
    for kind in get_args(ToWorker):
        yield b"\0" + envelopes.encode(WorkerBatch(1, 1, 0, 1, [_example(kind)]))
    for kind in get_args(ToFront):
        yield b"\1" + envelopes.encode(FrontBatch(1, 0, [_example(kind)]))
    yield b"\2" + envelopes.encode(PeerBatch([_example(ToPeer)]))
    for content in get_args(Content):
        yield b"\3" + envelopes.encode(Durable(Seq(5), _example(content)))


_EXAMPLES: Final[Mapping[Any, Any]] = {int: 5, str: "a", bytes: b"\xc0", bool: True}


def _example(kind: Any) -> Any:
    """Return an envelope, or what a field of one may be."""
    kind = getattr(kind, "__supertype__", kind)  # of a NewType
    if kind in _EXAMPLES:
        return _EXAMPLES[kind]
    if get_origin(kind) is list:
        return [_example(get_args(kind)[0])]
    if get_args(kind):
        return _example(get_args(kind)[0])  # of a union
    return kind(*(_example(field.type) for field in msgspec.structs.fields(kind)))


def _journal() -> Iterator[bytes]:
    trees = [{"mail": {b"key": b"value", b"gone": None}}, {"meta": {b"seq": bytes(8)}}]
    payloads = [msgspec.msgpack.encode(each) for each in (*trees, {"diary.notes": {b"k": b"v"}})]

    def record(payload: bytes, file: int = 0, added: int = 0) -> bytes:
        return journal.RECORD.pack(file, added, len(payload)) + payload

    yield from map(record, payloads)
    yield b"".join(record(each, number) for number, each in enumerate(payloads))
    yield record(payloads[0]) + record(payloads[1], added=1)
    yield journal.RAW + b"\xff\xfeJR" + bytes(20)


def _items() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        lay_out(data, items.MARK.workers)
        with cluster_on(data) as cluster:
            fill(cluster)
            hold_up(cluster)
        write_owned(data, DIARY)
        with snapshots_of(data) as snapshots:
            for snapshot in snapshots.values():
                trees = [name for name in items.TREES if snapshot.count(name)]
                by_tree = [
                    [(tree, *item) for item in islice(snapshot.items(tree), _ITEMS_A_TREE)]
                    for tree in trees
                ]
                yield items.packed([item for tree in by_tree for item in tree])
                yield from map(items.packed, by_tree)


def _storefile() -> Iterator[bytes]:
    pages = store_pages()
    yield b"".join(pages)
    yield b"".join(pages[:7])  # the last one is free
    pages[2] = page(2, BRANCH, [child(4), child(5)])
    yield b"".join(pages)


SEEDS: Final[Mapping[str, Callable[[], Iterator[bytes]]]] = {
    "framing": _framing,
    "door": _door,
    "codec": _frames,
    "sheet": _frames,
    "envelopes": _envelopes,
    "journal": _journal,
    "storefile": _storefile,
    "items": _items,
}
