"""The tables and settings that there are: unknown ones, and those of extensions."""

from pathlib import Path

import pytest

from relay.errors import SettingsError
from relay.settings.catalogue import Catalogue, flag_of
from relay.settings.rows import Table
from tests.settings.harness import KEYS, refusal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1", "unknown key server.prot; did you mean server.port"),
        ("[server]\ndurability = 'os'", "unknown key server.durability; did you mean store.dur"),
        ("[store]\nzzz = 1", "unknown key store.zzz; known in [store]: durability, map_bytes"),
        ("port = 1", "unknown key port; did you mean server.port or admin.port?"),
        ("zzz = 1", "unknown key zzz; known tables: server, tls, auth"),
        ("[sever]\nport = 1", "unknown table [sever]; did you mean [server]?"),
        ("[zzz]", "unknown table [zzz]; known tables: server, tls, auth"),
        ('["a\\nb"]', 'unknown table ["a\\nb"]; known tables'),
        ('[server]\n"a\\nb" = 1', 'unknown key server."a\\nb"; '),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known(
    tmp_path: Path, text: str, said: str
) -> None:
    assert refusal(tmp_path, text).startswith(said)


def test_every_setting_has_a_flag_of_its_own() -> None:
    flags = [flag_of(key) for key in KEYS]

    assert len(set(flags)) == len(flags)
    assert flag_of("server.insecure_open") == "--insecure-open"
    assert flag_of("limits.frame_bytes") == "--limits-frame-bytes"


class SomeTable(Table, frozen=True):
    """A table without settings."""


@pytest.mark.parametrize("name", ["limits", "server", "extensions"])
def test_an_extension_cannot_have_the_name_of_a_table_of_the_relay(name: str) -> None:
    with pytest.raises(SettingsError, match=f'cannot be called "{name}": it is taken'):
        Catalogue({name: SomeTable})


@pytest.mark.parametrize("name", ["", "Presence", "a.b", "a-b", "1a", "a\n", "a" * 65])
def test_the_name_of_an_extension_is_a_word(name: str) -> None:
    with pytest.raises(SettingsError, match="a name is a lower-case letter and") as refused:
        Catalogue({name: SomeTable})

    assert str(refused.value).isprintable()
