"""What the comparisons share as commands."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.bench.command import Duration, Measurement, file_system_of

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/vdb /tmp/on\\040disk ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/tmp", "ext4"), ("/tmp", "tmpfs"), ("/tmp/x", "tmpfs"), ("/tmp/on disk/x", "ext4")],
)
def test_the_innermost_mount_has_a_path(path: str, kind: str) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind


def test_where_nothing_is_mounted_nothing_is_known() -> None:
    assert file_system_of(Path("/tmp"), "") == ""


def test_a_duration_is_read_as_the_load_generator_reads_it() -> None:
    assert Duration().convert("1m30s", None, None) == 90.0
    assert Duration().convert(4, None, None) == 4.0
    for wrong in ("soon", "0s"):
        with pytest.raises(click.BadParameter):
            Duration().convert(wrong, None, None)


@pytest.fixture
def measurement() -> Iterator[Measurement]:
    """One that has begun; afterwards signals mean here what they meant before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield Measurement()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("is_interrupted", "faults", "code"),
    [(False, [], None), (False, ["one lost"], 1), (True, [], 130), (True, ["one lost"], 130)],
)
def test_the_exit_code_says_how_it_went_and_faults_are_shown_in_any_case(
    is_interrupted: bool,
    faults: list[str],
    code: int | None,
    measurement: Measurement,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with measurement:
        if is_interrupted:
            raise KeyboardInterrupt

    if code is None:
        measurement.end(faults)
    else:
        with pytest.raises(SystemExit) as ended:
            measurement.end(faults)
        assert ended.value.code == code
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [f"FAULT {each}" for each in faults]
    assert ("interrupted; of what was measured:" in shown.err) is is_interrupted


def test_another_failure_is_no_interruption(measurement: Measurement) -> None:
    with pytest.raises(ZeroDivisionError), measurement:
        _ = 1 / 0


def test_what_is_written_says_when_and_on_which_machine(
    measurement: Measurement, tmp_path: Path
) -> None:
    measurement.write(tmp_path / "found.json", {"faults": []})

    written = json.loads((tmp_path / "found.json").read_text())
    assert {"written", "machine", "faults"} == set(written)
