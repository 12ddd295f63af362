"""Certificates in files: which are usable, which are warned of, and which a name gets."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from time import process_time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.auth.certificates import MAX_AUTHORITIES_BYTES, MAX_BYTES
from relay.auth.tls import all_warnings_of, certificates_of, warnings_of
from relay.errors import SettingsError
from relay.settings.tables import AdminSettings, Settings, TlsSettings
from tests.outside.certificates import Authority

HOST = "chat.example.org"
AUTHORITY = Authority()


@pytest.fixture
def settings(tmp_path: Path) -> TlsSettings:
    return written(tmp_path)


def written(directory: Path, name: str = "it", **times: timedelta) -> TlsSettings:
    certificate, key = AUTHORITY.issue(HOST, **times).write(directory, name)
    return TlsSettings(certificate_files=(str(certificate),), key_files=(str(key),))


def problems_of(settings: TlsSettings) -> str:
    with pytest.raises(SettingsError) as refused:
        certificates_of(settings)
    return "\n".join(refused.value.problems)


def test_without_files_there_is_no_tls() -> None:
    assert certificates_of(TlsSettings()) is None
    assert warnings_of(TlsSettings()) == ()


def test_a_good_pair_is_taken_without_a_word(settings: TlsSettings) -> None:
    assert certificates_of(settings) is not None
    assert warnings_of(settings) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key_files": ()}, "tls.key_files: 0 for 1 of tls.certificate_files"),
        ({"client_certificates": "required"}, "needs tls.client_ca_file"),
        ({"certificate_files": ("/gone",)}, "cannot be read: No such file"),
        (
            {"key_files": ("/dev/null",)},
            "tls.key_files: /dev/null cannot be read: Is a device, and must",
        ),
        (
            {"client_certificates": "optional", "client_ca_file": "/gone"},
            "tls.client_ca_file: /gone cannot be read",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    settings: TlsSettings, change: dict[str, object], said: str
) -> None:
    assert said in problems_of(replace(settings, **change))


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    settings = TlsSettings(
        certificate_files=("/gone", "/lost"),
        key_files=("/k", "/l"),
        client_certificates="required",
        client_ca_file="/away",
    )

    assert problems_of(settings).count("cannot be read") == 3


@pytest.mark.parametrize("content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nMIIB\n"])
def test_what_is_no_certificate_is_refused(settings: TlsSettings, content: bytes) -> None:
    Path(settings.certificate_files[0]).write_bytes(content)

    assert "tls.certificate_files: " in problems_of(settings)


def test_half_a_chain_is_refused(tmp_path: Path) -> None:
    middle = Authority("the middle", AUTHORITY)
    certificate, key = middle.issue(HOST).write(tmp_path, "it")
    settings = TlsSettings(certificate_files=(str(certificate),), key_files=(str(key),))
    assert certificates_of(settings) is not None

    certificate.write_bytes(certificate.read_bytes()[:-200])

    assert "tls.certificate_files: " in problems_of(settings)


def test_a_key_of_another_certificate_is_refused(settings: TlsSettings, tmp_path: Path) -> None:
    other = written(tmp_path, "other")

    assert "is not the key of" in problems_of(replace(settings, key_files=other.key_files))


def test_a_key_that_everyone_may_read_is_refused(settings: TlsSettings) -> None:
    Path(settings.key_files[0]).chmod(0o644)

    assert "may be used by everyone (mode 0644)" in problems_of(settings)


def test_a_large_key_is_read_without_a_look_for_primes(tmp_path: Path) -> None:
    """Which would be a quarter of a second of a front, at 4096 bits."""
    key = rsa.generate_private_key(65537, 3072)
    certificate, path = AUTHORITY.issue(HOST, key=key).write(tmp_path, "it")
    settings = TlsSettings(certificate_files=(str(certificate),), key_files=(str(path),))

    began_s = process_time()
    load_pem_private_key(path.read_bytes(), None)
    with_primes_s = process_time() - began_s
    took_s = []
    for _ in range(3):
        began_s = process_time()
        assert certificates_of(settings) is not None
        took_s.append(process_time() - began_s)

    assert min(took_s) < with_primes_s / 3


def test_a_large_key_that_signs_wrongly_is_refused(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    certificate, path = AUTHORITY.issue(HOST, key=key).write(tmp_path, "it")
    settings = TlsSettings(certificate_files=(str(certificate),), key_files=(str(path),))
    numbers = key.private_numbers()
    odd = rsa.RSAPrivateNumbers(
        p=numbers.p,
        q=numbers.q,
        d=numbers.d - 2,
        dmp1=numbers.dmp1 - 2,
        dmq1=numbers.dmq1 - 2,
        iqmp=numbers.iqmp,
        public_numbers=numbers.public_numbers,
    ).private_key(unsafe_skip_rsa_key_validation=True)
    path.write_bytes(odd.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    assert "is no private key in PEM" in problems_of(settings)


def test_a_key_with_a_password_is_refused(settings: TlsSettings) -> None:
    path = Path(settings.key_files[0])
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )

    assert "is encrypted" in problems_of(settings)


@pytest.mark.parametrize(
    ("begins", "ends", "said"), [(-3, -2, "has expired, on "), (2, 3, "is not valid until ")]
)
def test_one_that_is_not_valid_now_is_warned_of(
    tmp_path: Path, begins: int, ends: int, said: str
) -> None:
    settings = written(tmp_path, begins=timedelta(days=begins), ends=timedelta(days=ends))

    [warning] = warnings_of(settings)

    assert said in warning
    assert settings.certificate_files[0] in warning


def test_files_are_read_again_when_they_change_and_not_else(
    settings: TlsSettings, tmp_path: Path
) -> None:
    certificates = certificates_of(settings)
    assert certificates is not None
    before = certificates.context
    assert not certificates.refresh()

    written(tmp_path)

    assert certificates.refresh()
    assert certificates.context is not before
    assert not certificates.refresh()


def test_half_of_a_change_is_told_once_and_the_whole_of_it_counts(
    settings: TlsSettings, tmp_path: Path
) -> None:
    certificates = certificates_of(settings)
    assert certificates is not None
    before = certificates.context
    next_one = written(tmp_path, "next")

    with capture_logs() as lines:
        os.rename(next_one.certificate_files[0], settings.certificate_files[0])
        assert not certificates.refresh()
        assert not certificates.refresh()
        assert certificates.context is before
        os.rename(next_one.key_files[0], settings.key_files[0])
        assert certificates.refresh()

    assert certificates.context is not before
    events = [line["event"] for line in lines]
    assert events == ["tls.certificates_unusable", "tls.certificates_read"]


def test_what_is_wrong_with_the_admins_certificate_is_told_with_that_of_the_port(
    tmp_path: Path,
) -> None:
    good = written(tmp_path)
    admin = AdminSettings(tls_certificate=good.certificate_files[0], tls_key="/lost")
    settings = Settings(tls=TlsSettings(certificate_files=("/gone",), key_files=("/k",)))

    with pytest.raises(SettingsError) as refused:
        all_warnings_of(replace(settings, admin=admin))

    said = "\n".join(refused.value.problems)
    assert "tls.certificate_files: /gone cannot be read" in said
    assert "admin.tls_key: /lost cannot be read" in said


def test_a_certificate_of_the_admins_is_warned_of_where_there_is_an_admin(tmp_path: Path) -> None:
    old = written(tmp_path, begins=timedelta(days=-3), ends=timedelta(days=-2))
    admin = AdminSettings(tls_certificate=old.certificate_files[0], tls_key=old.key_files[0])

    [warning] = all_warnings_of(Settings(admin=admin))

    assert "has expired" in warning
    assert list(all_warnings_of(Settings(admin=replace(admin, disabled=True)))) == []


def test_files_that_are_far_too_large_are_refused_unread(
    settings: TlsSettings, tmp_path: Path
) -> None:
    """A front reads them beside its clients."""
    chain, key = Path(settings.certificate_files[0]), Path(settings.key_files[0])
    authorities = tmp_path / "authorities"
    authorities.write_bytes(chain.read_bytes() * (MAX_AUTHORITIES_BYTES // 500))
    key_bytes, chain_bytes = key.read_bytes(), chain.read_bytes()

    chain.write_bytes(chain_bytes * (MAX_BYTES // 500))
    assert f"tls.certificate_files: {chain} has over 65536 bytes" in problems_of(settings)
    chain.write_bytes(chain_bytes)
    key.write_bytes(key_bytes + b"\n" * MAX_BYTES)
    assert f"tls.key_files: {key} has over 65536 bytes" in problems_of(settings)
    key.write_bytes(key_bytes)
    asks = replace(settings, client_certificates="optional", client_ca_file=str(authorities))
    assert f"tls.client_ca_file: {authorities} has over 524288 bytes" in problems_of(asks)


def test_a_long_chain_is_taken(settings: TlsSettings) -> None:
    chain = Path(settings.certificate_files[0])
    chain.write_bytes(chain.read_bytes() * 30)
    assert len(chain.read_bytes()) > 16 * 1024

    assert certificates_of(settings) is not None
