"""Whether a message came as it was sent."""

import msgspec

_decode = msgspec.json.Decoder().decode


def same_json(one: bytes | msgspec.Raw, other: bytes | msgspec.Raw) -> bool:
    """Whether both are JSON of the same value: a relay may space and escape as it likes."""
    try:
        return bool(_decode(one) == _decode(other))
    except msgspec.MsgspecError:
        return False
