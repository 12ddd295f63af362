"""The settings file as TOML."""

from pathlib import Path

import pytest

from relay.errors import SettingsError
from relay.settings.tomlfile import read_document
from tests.settings.harness import refusal


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[server]\nport 1\n", "at line 2, column"),
        ("[server]\n\nport =", "at line 3, end of document"),
        ("[log]\nlevel = 'info'\nlevel = 'info'\n", "at line 3"),
    ],
)
def test_a_syntax_error_names_the_line(tmp_path: Path, text: str, line: str) -> None:
    said = refusal(tmp_path, text)

    assert said.startswith("not TOML: ")
    assert line in said


def test_a_file_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_bytes(b"# \xff")

    with pytest.raises(SettingsError, match="not UTF-8 at byte 2"):
        read_document(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"

    path.write_bytes(b"\xef\xbb\xbf[log]\nlevel = 'debug'\n")
    assert read_document(path) == {"log": {"level": "debug"}}

    path.write_bytes(b"\xef\xbb\xbf# \xff")
    with pytest.raises(SettingsError, match="not UTF-8 at byte 5"):
        read_document(path)

    path.write_bytes(b"\xef\xbb\xbf\xef\xbb\xbf")
    with pytest.raises(SettingsError, match=r"not TOML: .*at line 1"):
        read_document(path)
