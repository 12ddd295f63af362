"""How the supervisor is started again: by the names that it was started by."""

import os
import sys
from pathlib import Path

import pytest

from relay.supervision import program
from relay.supervision.program import CODE, Program

PYTHON = sys.executable


@pytest.mark.parametrize(
    ("original", "argv", "arguments", "script"),
    [
        (
            ["python", "supervisor.py", "--port", "0"],
            ["supervisor.py", "--port", "0"],
            ["/srv/current/supervisor.py", "--port", "0"],
            "/srv/current/supervisor.py",
        ),
        (
            ["python", "-X", "dev", "/opt/x/supervisor.py"],
            ["/opt/x/supervisor.py"],
            ["-X", "dev", "/opt/x/supervisor.py"],
            "/opt/x/supervisor.py",
        ),
        (
            ["python", "-m", "relay", "serve", "--port", "0"],
            ["/opt/x/relay/__main__.py", "serve", "--port", "0"],
            ["-m", "relay", "serve", "--port", "0"],
            None,
        ),
        # What a supervisor that has taken over was given is not given on.
        (
            ["python", "supervisor.py", "--take-over", "9"],
            ["supervisor.py", "--take-over", "9"],
            ["/srv/current/supervisor.py"],
            "/srv/current/supervisor.py",
        ),
    ],
)
def test_it_is_run_as_it_was_named(
    original: list[str], argv: list[str], arguments: list[str], script: str | None
) -> None:
    found = Program.of(original, argv, "/srv/current")

    assert found.again("--rehearse", 7) == [PYTHON, *arguments, "--rehearse", "7"]
    assert found.script == script


def test_a_directory_has_the_name_that_the_shell_has_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "1.0").mkdir()
    (tmp_path / "current").symlink_to("1.0")
    monkeypatch.chdir(tmp_path / "current")

    monkeypatch.setenv("PWD", str(tmp_path / "current"))
    assert Program.own().directory == str(tmp_path / "current")
    for wrong in ("/", "current", ""):
        monkeypatch.setenv("PWD", wrong)
        assert Program.own().directory == str(tmp_path / "1.0")


def test_a_directory_that_was_removed_is_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("PWD", str(gone))
    gone.rmdir()

    assert Program.own().directory == str(gone)


def test_children_run_the_code_of_before_as_long_as_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = os.path.join(tmp_path, "current", "supervisor.py")
    found = Program.of(["python", named], [named], "/")
    assert found.code() == CODE

    monkeypatch.setattr(program, "CODE", tmp_path / "pruned")

    assert found.code() == tmp_path / "current"
    module = Program.of(["python", "-m", "relay"], ["/x/relay/__main__.py"], "/srv/current")
    assert module.code() == Path("/srv/current")
