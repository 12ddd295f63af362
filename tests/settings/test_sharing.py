"""Which settings all hosts of a cluster share: the rows say it."""

from typing import Annotated

import pytest
from msgspec import Meta, structs

from relay.errors import SettingsError
from relay.settings.explain import config_text
from relay.settings.rows import Row, Table, plain, settings_in
from relay.settings.sharing import named_files, shared_values, with_files, with_shared
from relay.settings.tables import (
    NEEDS_RESTART,
    SETTINGS,
    AuthSettings,
    LimitSettings,
    LogSettings,
    Settings,
    TokenSettings,
    WebhookSettings,
)

OTHER = Settings(limits=LimitSettings(message_bytes=1000), log=LogSettings(level="debug"))


class TrialSettings(Table, frozen=True):
    """[trial]: a setting of each kind."""

    alike: Annotated[int, Meta(ge=0, le=9), Row("All hosts have it alike.")] = 1
    own: Annotated[int, Meta(ge=0, le=9), Row("A host's own.", own=True)] = 1
    late: Annotated[int, Meta(ge=0, le=9), Row("At a start.", restart=True)] = 1


TABLES: dict[str, type[Table]] = {"trial": TrialSettings}


def test_what_a_reload_takes_is_shared_but_for_what_is_of_a_hosts_own() -> None:
    rows = settings_in("trial", TrialSettings)

    assert [name for name, each in rows.items() if each.is_shared] == ["alike"]
    assert shared_values(Settings(), TABLES)["trial.alike"] == 1
    assert not {"trial.own", "trial.late"} & shared_values(Settings(), TABLES).keys()
    text = config_text(TABLES)
    assert "# A host's own. Each host of a cluster has its own.\nown = 1\n" in text


def test_no_secret_path_or_place_of_a_host_is_shared() -> None:
    shared = shared_values(Settings(), {})

    assert not shared.keys() & NEEDS_RESTART
    assert not [key for key in shared if SETTINGS[key].row.secret]
    assert not [key for key in shared if key.endswith(("_file", "_files", "_directory", ".host"))]
    assert not [key for key in shared if key.startswith(("log.", "store.", "cluster."))]


def test_values_of_others_are_taken_and_the_rest_stays() -> None:
    values = shared_values(OTHER, {})

    taken = with_shared(Settings(), values, {})

    assert taken == structs.replace(Settings(), limits=OTHER.limits)
    assert shared_values(taken, {}) == values == plain(values)


def test_what_is_not_shared_or_known_here_is_passed_over() -> None:
    values = {"log.level": "debug", "server.port": 1, "trial.alike": 5, "limits.unheard_of": 1}

    assert with_shared(Settings(), values, {}) == Settings()
    assert with_shared(Settings(), values, TABLES).extensions["trial"]["alike"] == 5


def test_a_value_that_is_not_allowed_here_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"the settings of the cluster: limits\.message_bytes"):
        with_shared(Settings(), {"limits.message_bytes": 1}, {})


def test_files_whose_content_is_shared_are_those_that_somebody_reads() -> None:
    token = TokenSettings(key_files=("a", "b"))
    settings = Settings(auth_token=token, webhooks=WebhookSettings(secret_file="w"))
    assert named_files(settings) == {"webhooks.secret_file": ("w",)}
    settings = structs.replace(settings, auth=AuthSettings(mode="token"))
    assert named_files(settings) == {
        "auth_token.key_files": ("a", "b"),
        "webhooks.secret_file": ("w",),
    }

    placed = with_files(settings, {"auth_token.key_files": ("c",), "webhooks.secret_file": ("d",)})

    assert placed.auth_token.key_files == ("c",)
    assert placed.webhooks.secret_file == "d"
