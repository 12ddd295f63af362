"""The list of those who are let in no more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from relay.auth.denied import MOST_WRONG, Denials, read_deny_list
from relay.auth.modes import authenticator_of
from relay.auth.secretfile import SecretFile
from relay.errors import SettingsError
from relay.settings.tables import AuthSettings, HttpSettings, Settings


def deny_file(directory: Path, content: bytes) -> SecretFile:
    path = directory / "deny"
    path.write_bytes(content)
    return SecretFile(str(path), "auth.deny_file", is_secret=False)


def test_it_has_users_and_tokens_a_line_each(tmp_path: Path) -> None:
    text = b"# gone\nuser +917069852821@s.whatsapp.net  # in June\n\n  token 3f2a\nuser bob\n"

    assert read_deny_list(deny_file(tmp_path, text)) == Denials(
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


def test_an_empty_list_is_refused_with_the_line_that_means_nobody(tmp_path: Path) -> None:
    path = tmp_path / "deny"
    path.touch()
    settings = Settings(auth=AuthSettings(mode="http", deny_file=str(path)))
    settings = replace(settings, auth_http=HttpSettings(url="http://127.0.0.1:1/"))

    with pytest.raises(SettingsError, match=r"is empty; where nobody .* a line `# nobody`"):
        authenticator_of(settings)

    path.write_text("# nobody\n")
    assert authenticator_of(settings) is not None


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not UTF-8"):
        read_deny_list(deny_file(tmp_path, b"\xff\n"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"token a#b", "a#b"),
        (b"token a#b # a comment", "a#b"),
        (b"token a\t#comment", "a"),
        (b"token a\r", "a"),
        ("token a\u00e9".encode(), "a\u00e9"),
        (b"token ../../etc/passwd", "../../etc/passwd"),
        (b"token " + b"x" * 100_000, "x" * 100_000),
    ],
)
def test_a_token_is_denied_by_its_whole_name(tmp_path: Path, line: bytes, expected: str) -> None:
    """Half of a name would deny another token, and not this one."""
    found = read_deny_list(deny_file(tmp_path, b"#\n" + line + b"\n"))

    assert found == Denials(frozenset(), frozenset({expected}))


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    found = read_deny_list(deny_file(tmp_path, b"\xef\xbb\xbftoken a\r\n"))

    assert found.token_ids == {"a"}


def test_of_a_file_that_is_something_else_the_first_lines_are_told(tmp_path: Path) -> None:
    file = deny_file(tmp_path, b"x\n" * 400_000)

    with pytest.raises(SettingsError) as caught:
        read_deny_list(file)

    assert len(caught.value.problems) == MOST_WRONG + 1


def test_a_list_as_long_as_may_be_is_read_in_a_moment(tmp_path: Path) -> None:
    lines = b"".join(b"user 9170698%05d\n" % number for number in range(55_000))

    began_s = time.perf_counter()
    found = read_deny_list(deny_file(tmp_path, lines))

    assert len(found.users) == 55_000
    assert time.perf_counter() - began_s < 5
