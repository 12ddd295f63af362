"""The lines of a pipe."""

from hypothesis import given
from hypothesis import strategies as st

from relay.client.pipedlines import cut


@given(st.text(), st.integers(4, 12))
def test_a_line_is_cut_between_characters(text: str, size: int) -> None:
    pieces = cut(text.encode(), size)

    assert "".join(piece.decode() for piece in pieces) == text
    assert all(len(piece) <= size for piece in pieces)
