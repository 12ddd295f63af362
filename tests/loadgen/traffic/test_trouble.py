"""What a person is told of what came instead of a login."""

import pytest

from relay.loadgen.traffic.trouble import Trouble, shown


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b'["auth", {}]', '["auth", {}]'),
        ("grüß Gott", "grüß Gott"),
        (b"two\r\nlines\x00", r"two\r\nlines\x00"),
        ("\x1b[2J\u202e", r"\x1b[2J\u202e"),
        (b"\xff", "\ufffd"),
        (b"", ""),
    ],
)
def test_what_a_server_says_is_one_line_that_can_be_printed(said: bytes | str, told: str) -> None:
    assert shown(said) == told


@pytest.mark.parametrize("said", ["x" * 201, b"x" * 100_000, "\n" * 150, "👍" * 300, b"\xff" * 999])
def test_much_is_cut_at_200_characters(said: bytes | str) -> None:
    assert len(shown(said)) == 200
    assert shown(said).endswith("…")


def test_as_much_as_fits_is_shown_whole() -> None:
    assert shown("é" * 200) == "é" * 200


def test_only_the_first_is_kept_and_told() -> None:
    told: list[str] = []
    trouble = Trouble(told.append)

    trouble.came("got one")
    trouble.came("got two")

    assert trouble.first == "got one"
    assert told == ["got one"]
