"""What the front's pure parts cost: frames cut and decoded, slots found, sessions passed.

    python -m tests.bench.bench_codec

Processor time of each, the best of several runs, on one core.
"""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from relay.front.wire import FrameSplitter, text_frame
from relay.protocol.codec import Codec
from relay.protocol.slots import slot_of
from relay.settings.tables import Settings

from .timing import show, us_each

COUNT = 2_000
NOW_S = 1_566_970_700
ALICE, BOB = "917069852821", "919428284313"

SEND = (
    '["action", {"add": "relay"}, [{"message": {"conversation": "%s"}, "key": {"remoteJid": '
    '"919428284313@s.whatsapp.com", "fromMe": true, "id": "%020X"}, '
    '"messageTimestamp": "1566970629"}]]'
)
ACK = (
    '["Msg", {"id": "%020X", "ack": 2, "cmd": "ack", "to": "919428284313@c.us", '
    '"t": "1566970629", "from": "917069852821@c.us"}]'
)


def main() -> None:
    """Print a line for each part."""
    settings = Settings()
    codec = Codec(settings.limits)
    sends = [(SEND % ("x" * 100, n)).encode() for n in range(COUNT)]
    long_sends = [(SEND % ("x" * 60_000, n)).encode() for n in range(20)]
    acks = [(ACK % n).encode() for n in range(COUNT)]
    stream = b"".join(Frame(Opcode.TEXT, send).serialize(mask=True) for send in sends)

    def decode(payloads: list[bytes], user: str) -> int:
        for payload in payloads:
            codec.decode(payload, user=user, now_s=NOW_S)
        return len(payloads)

    def cut() -> int:
        splitter = FrameSplitter(settings.limits.frame_bytes)
        return len(splitter.feed(stream, max_frames=COUNT, max_bytes=len(stream)))

    def frame() -> int:
        for payload in sends:
            text_frame(payload)
        return COUNT

    def find_slots() -> int:
        for n in range(COUNT):
            slot_of.__wrapped__(f"9170698528{n:04}")
        return COUNT

    def look_up_slots() -> int:
        for _ in range(COUNT):
            slot_of(BOB)
        return COUNT

    show("a text frame of 280 bytes, cut and unmasked", us_each(cut))
    show("the same, framed", us_each(frame))
    show("a send of 100 characters, decoded", us_each(lambda: decode(sends, ALICE)))
    show("a send of 60,000, decoded", us_each(lambda: decode(long_sends, ALICE)))
    show("an ack, decoded", us_each(lambda: decode(acks, BOB)))
    show("a slot, computed", us_each(find_slots))
    show("a slot, looked up", us_each(look_up_slots))


if __name__ == "__main__":
    main()
