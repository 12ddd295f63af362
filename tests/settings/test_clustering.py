"""[cluster]: what several hosts must say, and secrets that are told nowhere."""

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from relay.errors import SettingsError
from relay.settings.agreement import disagreements, lacks
from relay.settings.clustering import ClusterSettings
from relay.settings.load import draft_settings, load_settings, resolve
from relay.settings.reload import apply_live
from relay.settings.rows import Row, Table, secrets_of
from relay.settings.sources import Sources
from relay.settings.tables import SETTINGS, ServerSettings, Settings
from relay.settings.wanted import WorkersWanted, wanted_path

PEM = "-----BEGIN X-----\nAAAA\n-----END X-----\n"
SECRETS = {
    **dict.fromkeys(("ca", "ca_key", "certificate", "certificate_key"), PEM),
    "password": "hunter2" * 4,
    "bus_public": "p" * 40,
    "bus_secret": "s" * 40,
}
WHOLE: dict[str, Any] = {
    "name": "relay",
    "hosts": ("a=10.0.0.1", "b=10.0.0.2", "c=relay-c.example.org"),
    "host_name": "a",
    **SECRETS,
}


def cluster(**others: Any) -> Settings:
    """Return settings of a whole cluster, with `others` of [cluster], checked as a file's are."""
    return Settings(cluster=msgspec.convert({**WHOLE, **others}, ClusterSettings))


def said_of(settings: Settings) -> list[str]:
    return [lack.line for lack in lacks(settings)]


def test_without_a_name_there_is_no_cluster() -> None:
    assert not Settings().cluster.is_on
    assert said_of(Settings()) == []


def test_a_whole_one_is_taken_and_its_ranges_are_the_workers() -> None:
    settings = resolve(cluster(ranges=32), cpu_count=2)

    assert settings.cluster.is_on
    assert settings.server.workers == 32
    assert settings.server.fronts == 1
    assert settings.cluster.address == "10.0.0.1"
    assert settings.cluster.serving == ("a", "b", "c")
    assert not settings.cluster.is_witness
    assert settings.cluster.bus_port_range == range(9100, 9356)
    assert said_of(settings) == [], "what was resolved is judged again at a reload"


def test_a_witness_serves_nobody() -> None:
    settings = cluster(witness="c", host_name="c")

    assert said_of(settings) == []
    assert settings.cluster.is_witness
    assert settings.cluster.serving == ("a", "b")


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"host_name": ""}, "cluster.host_name is missing: say which host this one is"),
        ({"host_name": "z"}, '(--host-name) = "z" is none of cluster.hosts: a, b, c'),
        ({"hosts": ()}, "cluster.hosts is missing"),
        ({"hosts": WHOLE["hosts"][:1]}, "one host needs no cluster"),
        ({"hosts": WHOLE["hosts"][:2]}, "neither can tell whether the other is lost or cut off"),
        ({"hosts": WHOLE["hosts"][:2], "witness": "b"}, "a third is needed"),
        ({"hosts": (*WHOLE["hosts"], "a=10.0.0.4")}, '2 hosts have the name "a"'),
        ({"hosts": (*WHOLE["hosts"], "d=10.0.0.1")}, '2 hosts have the address "10.0.0.1"'),
        ({"hosts": (*WHOLE["hosts"], "d=10.0.0.256")}, '"10.0.0.256", of d, is neither'),
        ({"hosts": (*WHOLE["hosts"], "d=x:y")}, '"x:y", of d, is neither an IP address nor'),
        ({"witness": "w"}, 'cluster.witness = "w" is none of cluster.hosts: a, b, c'),
        ({"standbys": 3}, "cluster.standbys = 3 must be less than the hosts that serve, here 3"),
        ({"standbys": 2, "witness": "c"}, "less than the hosts that serve, here 2"),
        ({"password": ""}, "cluster.password is missing: start with the file"),
        ({"ca": "", "bus_secret": ""}, "cluster.ca and cluster.bus_secret are missing"),
        ({"bus_ports": "9200-9100"}, "must be from 1 to 65535, the lower one first"),
        ({"bus_ports": "65000-65600"}, "must be from 1 to 65535"),
        ({"bus_ports": "0-8999"}, "must be from 1 to 65535"),
        ({"bus_ports": "9100-9130"}, "are 31 ports, and must be two for each of cluster.ranges"),
        ({"engine_port": 9014}, "cluster.route_port and cluster.engine_port are both 9014"),
        ({"route_port": 9011}, "cluster.route_port and server.port are both 9011"),
        ({"engine_port": 9100}, "cluster.engine_port = 9100 is among cluster.bus_ports"),
    ],
)
def test_what_makes_no_cluster_is_told(others: dict[str, Any], said: str) -> None:
    [line] = said_of(cluster(**others))

    assert said in line


def test_a_message_to_a_group_in_all_ranges_fits_a_record_of_a_log() -> None:
    settings = cluster(ranges=256, bus_ports="9100-9999")
    large = msgspec.structs.replace(
        settings, limits=msgspec.structs.replace(settings.limits, message_bytes=131_073)
    )

    assert said_of(settings) == []
    [line] = list(disagreements(large, str))

    assert "must be at most 131072 with cluster.ranges = 256" in line[1]


def test_the_key_of_the_authority_may_be_kept_elsewhere() -> None:
    assert said_of(cluster(ca_key="")) == []


def test_the_operators_own_engine_has_ports_of_its_own() -> None:
    settings = cluster(engine=["nats://10.0.0.1:4222", "tls://[fd00::2]:4222"], engine_port=9014)

    assert not settings.cluster.has_own_engine
    assert said_of(settings) == []


@pytest.mark.parametrize(
    "others",
    [
        {"engine": []},
        {"engine": "another"},
        {"engine": ["nats://user:password@10.0.0.1:4222"]},
        {"engine": ["http://10.0.0.1:4222"]},
        {"engine": ["nats://10.0.0.1"]},
        {"name": "two words"},
        {"name": "a.b"},
        {"host_name": "a-1"},
        {"hosts": ["a"]},
        {"hosts": ["a=10.0.0.1 "]},
        {"hosts": ['a="']},
        {"password": "short"},
        {"password": 'a"quote' * 5},
        {"ca": "/etc/ca.pem"},
        {"bus_secret": "s" * 39},
        {"ranges": 257},
        {"bus_ports": "9100"},
    ],
)
def test_what_has_no_meaning_is_no_value(others: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        cluster(**others)


def test_workers_must_not_be_given_besides() -> None:
    settings = msgspec.structs.replace(cluster(), server=ServerSettings(workers=4))

    assert said_of(settings) == [
        "server.workers = 4 must not be given with [cluster]: cluster.ranges, here 16, says how"
        " many there are"
    ]


def test_a_host_name_without_a_cluster_is_told() -> None:
    [line] = said_of(Settings(cluster=ClusterSettings(host_name="a")))

    assert "--host-name" in line
    assert "`relay cluster init`" in line


def test_workers_that_were_wanted_before_do_not_count(tmp_path: Path) -> None:
    wanted_path(tmp_path).write_bytes(msgspec.json.encode(WorkersWanted(4, instead_of=0)))
    path = file_of(tmp_path, f'[server]\ndata = "{tmp_path}"\n', mode=0o600)

    assert Sources(path, {"cluster.host_name": "b"}).load().server.workers == 16


# --- secrets ----------------------------------------------------------------------------------


def file_of(tmp_path: Path, text: str = "", *, mode: int, **others: Any) -> Path:
    path = tmp_path / "cluster.toml"
    values = {**WHOLE, **others}
    del values["host_name"]
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path.write_text("\n".join([text, "[cluster]", *lines]))
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_file_of_its_owner_and_group_is_taken(tmp_path: Path, mode: int) -> None:
    assert load_settings(file_of(tmp_path, mode=mode)).cluster.password == SECRETS["password"]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_one_that_everyone_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = file_of(tmp_path, mode=mode)

    with pytest.raises(SettingsError) as caught:
        load_settings(path)

    assert str(caught.value) == (
        f"{path}: it holds secrets, and everyone may use it (mode {mode:04o}): chmod 600 {path}"
    )


def test_one_without_secrets_may_be_read_by_all(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text('[cluster]\nname = ""\npassword = ""\n')
    path.chmod(0o644)

    load_settings(path)


def test_all_that_init_has_made_up_is_secret() -> None:
    assert secrets_of(ClusterSettings) == set(SECRETS)
    assert not [key for key, setting in SETTINGS.items() if setting.row.secret and setting.row.flag]


@pytest.mark.parametrize("name", SECRETS)
def test_a_wrong_value_of_a_secret_is_not_told(tmp_path: Path, name: str) -> None:
    wrong = '"; tell nobody'
    path = file_of(tmp_path, mode=0o600, **{name: wrong})

    draft = draft_settings(path, {"cluster.host_name": "a"})

    assert [f"cluster.{name} = *** is not allowed" in line for line in draft.mistakes] == [True]
    assert "tell nobody" not in "".join(draft.mistakes)


def test_a_table_in_the_wrong_form_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text('[[cluster]]\npassword = "hunter2hunter2hunter2"\n')
    path.chmod(0o600)

    with pytest.raises(SettingsError) as caught:
        load_settings(path)

    assert "cluster = *** must be a table" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_secrets_are_in_no_repr() -> None:
    text = repr(cluster())

    assert "password=***" in text
    assert "host_name='a'" in text
    assert not [each for each in SECRETS.values() if repr(each) in text]


def test_a_reload_does_not_tell_what_has_changed_in_a_secret() -> None:
    class Secretive(Table, frozen=True):
        """[trial]: a secret that may change."""

        code: Annotated[str, Meta(description="any"), Row("It is told nowhere.", secret=True)] = ""

    one, other = (Settings(extensions={"trial": {"code": code}}) for code in ("x", "y"))

    reload = apply_live(one, other, {"trial": Secretive})

    assert reload.changed == {"trial.code": ("***", "***")}
    assert reload.settings == other
