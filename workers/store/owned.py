"""A tree of an extension, whose items belong to users and groups: slot, owner, NUL, key.

The owner is in the key, so that anybody can tell whose an item is, and move and check it, without
the extension's code. It is what `relay.extensions.contract.ExtensionTree` promises.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile
from typing import Final

from workers.store.keys import SEQ_BYTES, owned_prefix, split_owned
from workers.store.tree import MAX_KEY_BYTES, Tree


class OwnedTree:
    """The items of one tree, as the batch that is open sees and changes them.

    Every batch of a store sees the same one: it is made once.
    """

    __slots__ = ("_name", "_tree")

    def __init__(self, name: str, tree: Tree) -> None:
        self._name: Final = name
        self._tree: Final = tree

    def get(self, owner: str, key: bytes) -> bytes | None:
        """Return the value of `key` of `owner`, None where there is none.

        Raises:
            ValueError: nobody can be named so.
        """
        whole = owned_prefix(owner) + key
        return None if len(whole) > MAX_KEY_BYTES else self._tree.get(whole)

    def put(self, owner: str, key: bytes, value: bytes) -> None:
        """Set the value of `key` of `owner`.

        In a tree that grows the number at its end must be one that this worker has given out: of a
        higher one the removal may be forgotten.

        Raises:
            ValueError: nobody can be named so, or the two are longer together than a key may be,
                or the tree grows and no sequence number can be at the key's end. Nothing changed.
        """
        whole = owned_prefix(owner) + key
        if len(whole) > MAX_KEY_BYTES:
            room = MAX_KEY_BYTES - len(whole) + len(key)
            raise ValueError(
                f"a key of {len(key)} bytes in {self._name}: with its owner {owner} it may have"
                f" {max(room, 0)}"
            )
        if self._tree.grows and len(key) < SEQ_BYTES:
            raise ValueError(
                f"a key of {len(key)} bytes in {self._name}, whose keys end in {SEQ_BYTES} bytes of"
                " a sequence number"
            )
        self._tree.put(whole, value)

    def pop(self, owner: str, key: bytes) -> bytes | None:
        """Remove `key` of `owner` and return the value that it had, None where it had none.

        Raises:
            ValueError: nobody can be named so.
        """
        whole = owned_prefix(owner) + key
        return None if len(whole) > MAX_KEY_BYTES else self._tree.pop(whole)

    def scan(self, owner: str, first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of `owner` in order of keys, from the key `first` on.

        Do not write to what is still to come while iterating.

        Raises:
            ValueError: nobody can be named so.
        """
        prefix = owned_prefix(owner)
        whole = prefix + first
        # No key can be as long as a longer `first`: the one that it begins with is before it.
        found = self._tree.scan(whole[:MAX_KEY_BYTES], prefix)
        for key, value in dropwhile(lambda item: item[0] < whole, found):
            yield key[len(prefix) :], value

    def items(self, after: tuple[str, bytes] | None = None) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield (owner, key, value) of all owners in the tree's own order, behind `after`.

        Do not write to what is still to come while iterating.
        """
        first = b"" if after is None else owned_prefix(after[0]) + after[1] + b"\0"
        for key, value in self._tree.scan(first[:MAX_KEY_BYTES]):
            if key >= first:
                yield (*split_owned(key), value)
