"""What the command lines of the comparisons share."""

from pathlib import Path

import click
import pytest

from tests.bench.options import Duration, file_system_of

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
