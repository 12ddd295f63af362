"""Settings that bound each other."""

from pathlib import Path

import pytest

from relay.errors import SettingsError
from relay.settings.load import override, resolve
from relay.settings.tables import Settings
from tests.settings.harness import load, mistakes


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[dedupe]\nretention_days = 29",
            "dedupe.retention_days = 29.0 must be at least mailbox.ttl_days, here 30.0",
        ),
        (
            "[flow]\nsession_pause_bytes = 5000000",
            "flow.session_max_bytes = 4194304 must be at least flow.session_pause_bytes",
        ),
        (
            "[limits]\nmessage_bytes = 262145",
            "limits.frame_bytes = 262144 must be at least limits.message_bytes, here 262145",
        ),
        (
            "[flow]\nsession_max_bytes = 524287",
            "must be at least 8 times limits.message_bytes, here 524288",
        ),
        ("[flow]\nlink_bytes = 262143", "must be at least limits.frame_bytes, here 262144"),
        ("[mailbox]\nmax_bytes = 65535", "must be at least limits.message_bytes, here 65536"),
        ("[store]\nmax_map_bytes = 67108864", "must be at least store.map_bytes"),
        (
            "[supervisor]\ndrain_notice_s = 15.1",
            "supervisor.stop_deadline_s = 30.0 must be at least 2 times supervisor.drain_notice_s",
        ),
        ("[cluster]\ndetect_s = 3.1", "cluster.isolate_s = 3.0 must be at least cluster.detect_s"),
        ("[webhooks]\nretry_min_s = 700", "must be at least webhooks.retry_min_s"),
        ("[supervisor]\nrestart_min_s = 11", "must be at least supervisor.restart_min_s"),
        ("[supervisor]\nhung_after_s = 2.9", "must be at least 3 times supervisor.heartbeat_s"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert any(said in line for line in mistakes(tmp_path, text))


WEBHOOKS = '[webhooks]\nurl = "https://example.org/x"\nsecret_file = "secret"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[webhooks]\nurl = "https://example.org"', "webhooks.url needs webhooks.secret_file"),
        (WEBHOOKS + "events = []", "webhooks.url needs webhooks.events"),
        (WEBHOOKS + "[admin]\ndisabled = true", "webhooks.url needs the admin process"),
        (WEBHOOKS.replace("https", "http"), "webhooks.url: https:// is expected"),
    ],
)
def test_webhooks_that_lack_something_are_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        resolve(load(tmp_path, text), cpu_count=1)


def test_webhooks_go_to_a_safe_place() -> None:
    flags = {"webhooks.secret_file": "/secret", "webhooks.url": "http://[::1]:80/x"}

    assert resolve(override(Settings(), flags), cpu_count=1).webhooks.secret_file == "/secret"


def test_settings_that_agree_are_judged_together_not_one_by_one() -> None:
    days = 60.0

    settings = override(Settings(), {"mailbox.ttl_days": days, "dedupe.retention_days": days})

    assert settings.mailbox.ttl_days == settings.dedupe.retention_days == days


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.9", "::1", "0:0::0:1", "localhost"])
def test_open_mode_serves_a_loopback_host(host: str) -> None:
    assert resolve(override(Settings(), {"server.host": host}), cpu_count=1).server.host == host


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "192.168.1.2",
        "128.0.0.1",
        "::ffff:10.0.0.1",
        "localhost.example.org",
        "127.1",
    ],
)
def test_open_mode_is_refused_on_any_other_host_unless_asked_for(host: str) -> None:
    settings = override(Settings(), {"server.host": host})

    with pytest.raises(SettingsError, match=r"not a loopback address.*--insecure-open"):
        resolve(settings, cpu_count=1)

    asked_for = override(settings, {"server.insecure_open": True})
    assert resolve(asked_for, cpu_count=1).server.host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2"])
def test_tokens_of_operators_leave_the_machine_in_tls_alone(tmp_path: Path, host: str) -> None:
    (said,) = mistakes(tmp_path, f'[admin]\nhost = "{host}"\n')

    assert said == (
        f'admin.host = "{host}" is not a loopback address: its tokens need admin.tls_certificate'
        " and admin.tls_key on their way"
    )
    whole = f'[admin]\nhost = "{host}"\ntls_certificate = "/c"\ntls_key = "/k"\n'
    assert load(tmp_path, whole).admin.host == host
    (said,) = mistakes(tmp_path, '[admin]\ntls_certificate = "/c"\n')
    assert said == "admin.tls_key is missing: a certificate and its key go together"


def test_a_page_that_comes_by_tls_connects_by_tls(tmp_path: Path) -> None:
    secure = '[admin]\ntls_certificate = "/c"\ntls_key = "/k"\nchat_url = '
    (said,) = mistakes(tmp_path, f'{secure}"ws://chat.example.org/"\n')

    assert said == (
        'admin.chat_url = "ws://chat.example.org/": with admin.tls_certificate the page comes by'
        " https, and browsers let such a page connect by wss:// alone"
    )
    for url in ("wss://chat.example.org/", "ws://127.0.0.1:9011/"):
        assert load(tmp_path, f'{secure}"{url}"\n').admin.chat_url == url


@pytest.mark.parametrize(
    "url", ["http://a/", "wss://", "ws://a b/", 'ws://a/"><script>', "ws://a/;x", "ws://[::1]/"]
)
def test_where_the_chat_page_connects_to_is_nothing_that_ends_its_quotes(
    tmp_path: Path, url: str
) -> None:
    (said,) = mistakes(tmp_path, f"[admin]\nchat_url = '{url}'\n")

    assert said.startswith("admin.chat_url = ")


def test_a_value_that_is_wrong_by_itself_is_not_judged_with_others_too(tmp_path: Path) -> None:
    said = mistakes(tmp_path, "[limits]\nframe_bytes = 1\nmessage_bytes = 300_000\n")

    assert len(said) == 1
    assert said[0].startswith("limits.frame_bytes = 1 is not allowed")


@pytest.mark.parametrize("key", ["admission.exempt", "server.trusted_proxies"])
@pytest.mark.parametrize(
    "network", ["999.1.1.1", "10.0.0.1/8", "10.0.0.0/33", "::1/129", "1::2::3"]
)
def test_a_network_that_is_none_is_refused(tmp_path: Path, network: str, key: str) -> None:
    [said] = mistakes(tmp_path, f'{key} = ["10.0.0.0/8", "{network}"]\n')

    assert said.startswith(f"{key}: ")
    assert network in said


@pytest.mark.parametrize("network", ["", "proxy.example.org", "10.0.0.0/8 "])
def test_what_is_no_address_at_all_is_refused_by_itself(tmp_path: Path, network: str) -> None:
    [said] = mistakes(tmp_path, f'[admission]\nexempt = ["{network}"]\n')

    assert "must be a list of at most 100 addresses or networks" in said
