"""The list of those who are let in no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.auth.denied import DenyList, read_deny_list
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError


def deny_file(directory: Path, content: bytes) -> SecretFile:
    path = directory / "deny"
    path.write_bytes(content)
    return SecretFile(str(path), "auth.deny_file", is_secret=False)


def test_it_has_users_and_tokens_a_line_each(tmp_path: Path) -> None:
    text = b"# gone\nuser +917069852821@s.whatsapp.net  # in June\n\n  token 3f2a\nuser bob\n"

    assert read_deny_list(deny_file(tmp_path, text)) == DenyList(
        frozenset({"917069852821", "bob"}), frozenset({"3f2a"})
    )


def test_every_line_that_is_wrong_is_told(tmp_path: Path) -> None:
    file = deny_file(tmp_path, b"bob\nuser a b\nuser bob\nuser b@g.us\n")

    with pytest.raises(SettingsError) as caught:
        read_deny_list(file)

    where = f"auth.deny_file: {file.path} line"
    assert [
        problem.startswith(f"{where} {number}: ")
        for number, problem in zip((1, 2, 4), caught.value.problems, strict=True)
    ] == [True] * 3


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_deny_list(deny_file(tmp_path, b"\xff\n"))
