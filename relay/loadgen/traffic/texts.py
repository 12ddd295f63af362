"""What people write: message objects of a given size, the same for the same seed."""

from random import Random
from typing import Final

import msgspec

_POOL_CHARACTERS: Final = 4096
_PLAIN: Final = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 .,;:!?-"
# What escaping may get wrong: quotes, backslash, controls, characters of two to four bytes.
_RICH: Final = _PLAIN + "\"'\\\n\tàéüñßøłждшالعहিน中文字テ한👍🎉😀"


class Texts:
    """Makes the message of an id. `rich` ones have what codecs may get wrong."""

    def __init__(self, *, seed: int, size: int, rich: bool) -> None:
        random = Random(seed)  # noqa: S311 - reproducible, not secret
        pool = "".join(random.choices(_RICH if rich else _PLAIN, k=_POOL_CHARACTERS))
        self._pool = pool * (2 + size // _POOL_CHARACTERS)
        self._size = size
        self._rich = rich

    def message(self, message_id: str, number: int) -> bytes:
        """Return a message object as JSON. It begins with the id as far as the size lets it."""
        size = self._size
        start = number * 7 % _POOL_CHARACTERS
        text = f"{message_id} {self._pool[start : start + size]}"[:size]
        if self._rich:
            return msgspec.json.encode({"conversation": text})
        return b'{"conversation": "%b"}' % text.encode()
