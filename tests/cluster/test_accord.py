"""What `relay cluster settings` says of a file, without asking anybody."""

from __future__ import annotations

from pathlib import Path

from relay.cluster.accord import words_of_all, words_of_differences
from relay.disk.accord import Accord, Origin
from relay.disk.groupfile import Group
from relay.settings.sharing import shared_values
from relay.settings.tables import Settings

GROUP = Group(local="1-1", subject="S", participants=("1",), admins=())
ACCORD = Accord(
    Origin(4, "a", 1_000),
    {**shared_values(Settings(), {}), "limits.nesting": 8, "limits.of_tomorrow": 1},
    {"1-1": GROUP},
    {"auth_token.secret_file": (b"1" * 40,)},
)


def test_a_row_that_differs_is_a_line_with_its_place(tmp_path: Path) -> None:
    path, groups, secret = (tmp_path / name for name in ("relay.toml", "groups.json", "secret"))
    secret.write_bytes(b"2" * 40)
    path.write_text(
        '[auth]\nmode = "token"\n[limits]\nnesting = 9\n'
        f'[auth_token]\nsecret_file = "{secret}"\n[log]\nlevel = "debug"\n'
    )
    groups.write_text("{}")

    lines = list(words_of_differences(ACCORD, path, groups))

    assert lines == [
        f"group 1-1@g.us is not here, and is in the cluster ({groups})",
        f"content of auth_token.secret_file is another one than in the cluster ({path})",
        f"limits.nesting: 9 here ({path}), 8 in the cluster",
    ]


def test_of_a_file_that_agrees_nothing_is_said_and_groups_are_left_out_where_none_are_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "relay.toml"
    path.write_text("[limits]\nnesting = 8\n")

    assert list(words_of_differences(ACCORD, path, None)) == []


def test_all_that_holds_is_shown_as_a_file_has_it_and_no_secret() -> None:
    lines = list(words_of_all(ACCORD))

    assert "limits.nesting = 8" in lines
    assert 'webhooks.events = ["message.queued", "user.offline"]' in lines
    assert not [line for line in lines if "secret" in line or "1111" in line]
