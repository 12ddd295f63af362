"""Files of certificates and keys that cannot be used are told in a line, and never asked about."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from relay.errors import SettingsError
from relay.handshake import tls_context
from relay.trust import Trust
from tests.outside.certificates import Authority


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda at: Trust(ca_file=f"{at}/none.pem"), "/none.pem: No such file or directory"),
        (lambda at: Trust(ca_file=f"{at}/text"), "/text: no certificates in PEM"),
        (lambda at: Trust(certificate_file=f"{at}/none"), "/none: No such file or directory"),
        (lambda at: Trust(certificate_file=f"{at}/text"), "/text: no certificate and key in PEM"),
        (lambda at: Trust(key_file=f"{at}/one.key"), "/one.key: a key without its certificate"),
        (
            lambda at: Trust(certificate_file=f"{at}/one.pem", key_file=f"{at}/two.key"),
            "/two.key: not the key of ",
        ),
        (
            lambda at: Trust(certificate_file=f"{at}/one.pem", key_file=f"{at}/secret.key"),
            "/secret.key: the key is encrypted; a client has nobody to ask",
        ),
    ],
)
def test_what_is_unusable_is_told(
    tmp_path: Path, asked: Callable[[Path], Trust], told: str
) -> None:
    authority = Authority()
    one = authority.issue("one")
    one.write(tmp_path, "one")
    authority.issue("two").write(tmp_path, "two")
    key = load_pem_private_key(one.key, None)
    (tmp_path / "text").write_text("no PEM\n")
    (tmp_path / "secret.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )

    with pytest.raises(SettingsError) as caught:
        tls_context(asked(tmp_path))

    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_certificate_and_its_key_may_be_one_file(tmp_path: Path) -> None:
    one = Authority().issue("one")
    both = tmp_path / "both.pem"
    both.write_bytes(one.chain + one.key)

    tls_context(Trust(certificate_file=str(both)))
