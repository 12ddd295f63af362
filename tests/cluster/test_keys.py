"""The secrets of a cluster: made whole, and looked at before anything starts."""

import ssl
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.cluster import keys
from relay.cluster.keys import make_secrets, require_secrets, sign_certificate
from relay.errors import BootError
from relay.settings.clustering import ClusterSettings

ADDRESSES = ("10.0.0.1", "fd00::2", "relay-c.example.org")
HOSTS = ("a=10.0.0.1", "b=fd00::2", "c=relay-c.example.org")
SECRETS = make_secrets("relay", ADDRESSES)
OTHERS = make_secrets("relay", ADDRESSES)


def cluster(**others: Any) -> ClusterSettings:
    values = {"name": "relay", "hosts": HOSTS, "host_name": "a", **SECRETS._asdict(), **others}
    return ClusterSettings(**values)


def test_what_is_made_is_allowed_in_a_file_and_goes_together() -> None:
    checked = msgspec.convert(msgspec.to_builtins(cluster()), ClusterSettings)

    require_secrets(checked)


def test_nothing_is_made_twice() -> None:
    assert not set(SECRETS) & set(OTHERS)


def test_the_certificate_is_for_the_addresses_of_all_hosts_on_both_ends() -> None:
    certificate = x509.load_pem_x509_certificate(SECRETS.certificate.encode())

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == [*ADDRESSES[:2]]
    assert names.get_values_for_type(x509.DNSName) == [ADDRESSES[2]]
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {each._name for each in uses} == {"serverAuth", "clientAuth"}
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_authority_signs_for_a_host_that_comes_later() -> None:
    ca = x509.load_pem_x509_certificate(SECRETS.ca.encode())
    ca_key: Any = load_pem_private_key(SECRETS.ca_key.encode(), None)

    signed = sign_certificate(ca, ca_key, "relay", [*ADDRESSES, "10.0.0.4"])

    require_secrets(
        cluster(
            hosts=(*HOSTS, "d=10.0.0.4"), certificate=signed.certificate, certificate_key=signed.key
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(cadata=SECRETS.ca)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"ca": ""}, "cluster.ca is not one certificate"),
        ({"ca": OTHERS.ca}, "cluster.certificate is not signed by cluster.ca"),
        ({"certificate": "x"}, "cluster.certificate is not one certificate"),
        ({"certificate_key": "x"}, "cluster.certificate_key is no private key"),
        ({"certificate_key": OTHERS.certificate_key}, "is not the key of cluster.certificate"),
        ({"bus_public": OTHERS.bus_public}, "is not the secret half"),
        ({"bus_secret": "x"}, "cluster.bus_secret is no key of CURVE"),
        ({"hosts": (*HOSTS[:2], "c=10.0.0.9")}, "not for 10.0.0.9, the address of c"),
    ],
)
def test_what_does_not_go_together_is_told_without_what_it_is(
    wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(BootError, match=said) as caught:
        require_secrets(cluster(**wrong))

    assert not [each for each in (*SECRETS, *OTHERS) if each in str(caught.value)]


def test_a_certificate_out_of_its_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(keys, "_GOOD_FOR", -keys._GOOD_BEFORE / 2)
        expired = make_secrets("relay", ADDRESSES)
        patch.setattr(keys, "_GOOD_FOR", 2 * keys._GOOD_BEFORE)
        patch.setattr(keys, "_GOOD_BEFORE", -keys._GOOD_BEFORE)
        early = make_secrets("relay", ADDRESSES)

    with pytest.raises(BootError, match="has expired"):
        require_secrets(cluster(**expired._asdict()))
    with pytest.raises(BootError, match="this host's clock is wrong"):
        require_secrets(cluster(**early._asdict()))
