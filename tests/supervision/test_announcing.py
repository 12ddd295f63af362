"""What the supervisor says at its start; the ready line shows on real processes."""

import pytest
from structlog.testing import capture_logs

from relay.settings.tables import ServerSettings, Settings
from relay.supervision.announcing import log_start


@pytest.mark.parametrize(("workers", "hinted"), [(2, False), (3, True)])
def test_more_workers_than_cores_are_hinted_at(workers: int, hinted: bool) -> None:
    settings = Settings(server=ServerSettings(workers=workers, fronts=1))

    with capture_logs() as lines:
        log_start(settings, cores=2, most_files=1 << 20)

    assert lines[0]["event"] == "supervisor.starting"
    hints = [line for line in lines if line["event"] == "supervisor.many_workers"]
    assert len(hints) == hinted
    if hinted:
        assert (hints[0]["workers"], hints[0]["cores"]) == (3, 2)
        assert "fewer cost less" in hints[0]["hint"]


@pytest.mark.parametrize(("most_files", "warned"), [(100_000, True), (101_000, False)])
def test_c5_fewer_descriptors_than_connections_are_warned_of(most_files: int, warned: bool) -> None:
    with capture_logs() as lines:
        log_start(
            Settings(server=ServerSettings(workers=1, fronts=1)), cores=2, most_files=most_files
        )

    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert len(warnings) == warned
    if warned:
        assert warnings[0]["event"] == "supervisor.few_descriptors"
        assert (warnings[0]["open_files"], warnings[0]["connections"]) == (100_000, 100_000)
