"""Signatures: as the specification has them, of every secret, and of no file that others read."""

from __future__ import annotations

import base64
import hmac
import os
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import SettingsError
from relay.webhooks.signing import MOST_SECRETS, Secrets, read_secrets, sign
from tests.documents import read

LINE = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_signature_is_that_of_the_libraries_of_the_specification() -> None:
    """The known case of those that verify: id, time, body and secret have this signature."""
    headers = sign(
        read_secrets(LINE),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
    )

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.lists(st.binary(min_size=24, max_size=64), min_size=1, max_size=8), st.binary())
def test_each_secret_signs(secrets: list[bytes], body: bytes) -> None:
    lines = b"\n".join(b"whsec_" + base64.b64encode(each) for each in secrets)
    found = read_secrets(b"# the new one first\n\n" + lines + b"\n")
    headers = sign(found, "evt_1", 7, body)

    assert found == secrets
    signatures = headers["webhook-signature"].split(" ")
    for secret, signature in zip(secrets, signatures, strict=True):
        digest = hmac.new(secret, b"evt_1.7." + body, "sha256").digest()
        assert signature == "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    "content",
    [
        b"# none",
        b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        b"whsec_not base64!",
        b"whsec_" + base64.b64encode(b"x" * 23),
        b"whsec_" + base64.b64encode(b"x" * 65),
        b"\n".join([LINE] * (MOST_SECRETS + 1)),
        LINE + b"\nwhpk_AAAA",
    ],
)
def test_what_is_no_secret_is_refused(content: bytes) -> None:
    with pytest.raises(SettingsError):
        read_secrets(content)


def test_a_file_that_everybody_may_read_is_refused_and_says_nothing_of_the_secret(
    tmp_path: Path,
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(LINE)
    os.chmod(path, 0o644)

    with pytest.raises(SettingsError, match=r"webhooks\.secret_file") as refused:
        Secrets(str(path))
    assert "MfKQ9r8" not in str(refused.value)


def test_another_file_is_taken_and_a_bad_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_bytes(LINE)
    os.chmod(path, 0o600)
    secrets = Secrets(str(path))
    other = base64.b64encode(b"y" * 32)
    path.write_bytes(LINE + b"\nwhsec_" + other + b"\n")
    secrets.refresh()

    assert secrets.all[1] == b"y" * 32
    path.write_bytes(b"whsec_")
    secrets.refresh()
    assert len(secrets.all) == 2


def test_the_text_for_operators_verifies_what_is_signed(tmp_path: Path) -> None:
    _, _, behind = read("docs/operating.md").partition("**Verify** before you believe anything.")
    snippet = behind.partition("```python\n")[2].partition("```")[0]
    path = tmp_path / "verification.py"
    path.write_text(snippet)
    spec = spec_from_file_location("verification", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    secrets = read_secrets(LINE + b"\nwhsec_" + base64.b64encode(b"z" * 32))
    body, now_s = b'{"type":"webhook.test"}', int(time.time())
    headers = sign(secrets, "evt_1", now_s, body)

    module.verify(LINE.decode(), headers, body)
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    for secret, shown, content in (
        (other, headers, body),
        (LINE.decode(), headers, body + b" "),
        (LINE.decode(), {**headers, "webhook-id": "evt_2"}, body),
        (LINE.decode(), sign(secrets, "evt_1", now_s - 600, body), body),
    ):
        with pytest.raises(ValueError, match=r"signed|old"):
            module.verify(secret, shown, content)
