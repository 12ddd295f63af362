"""Addresses: one grammar in (R11), fixed spellings out (R12)."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import JidError
from relay.protocol.jid import (
    group_jid,
    parse_chat,
    parse_group,
    parse_user,
    user_com,
    user_cus,
    user_net,
)

PHONE = "917069852821"
GROUP = "917069852821-1566557065"

# Without `digits_digits`, whose agent is dropped.
plain_locals = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}", fullmatch=True).filter(
    lambda local: re.fullmatch("[0-9]+_[0-9]+", local) is None
)


@pytest.mark.parametrize("domain", ["s.whatsapp.com", "s.whatsapp.net", "c.us", "sc.us"])
def test_r11_all_user_domains_and_none_name_the_same_user(domain: str) -> None:
    assert parse_user(f"{PHONE}@{domain}") == parse_user(PHONE) == PHONE


@pytest.mark.parametrize("text", [f"{PHONE}@S.WhatsApp.NET", f"{PHONE}@C.US", f"{PHONE}@sC.uS"])
def test_r11_the_case_of_a_domain_does_not_matter(text: str) -> None:
    assert parse_user(text) == PHONE


def test_r11_the_case_of_a_local_part_matters() -> None:
    assert parse_user("Asha@c.us") == "Asha" != parse_user("asha@c.us")


@pytest.mark.parametrize(
    ("text", "local"),
    [
        (f"+{PHONE}", PHONE),
        (f"+{PHONE}@c.us", PHONE),
        (f"{PHONE}:7@s.whatsapp.net", PHONE),
        (f"{PHONE}:laptop-2", PHONE),
        (f"{PHONE}_1@s.whatsapp.net", PHONE),
        (f"+{PHONE}_1:12@s.whatsapp.net", PHONE),
        ("9" * 64 + "_1", "9" * 64),
        ("asha_1", "asha_1"),
        ("1_asha", "1_asha"),
        ("1_2_3", "1_2_3"),
        ("1_", "1_"),
    ],
)
def test_r11_plus_device_and_numeric_agent_are_stripped(text: str, local: str) -> None:
    assert parse_user(text) == local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@c.us",
        "+",
        "++1",
        "_1",
        "-1",
        ".a",
        "1@",
        "1:",
        "1:@c.us",
        "1::2",
        "1:2:3",
        "1@c.us:2",
        "1@c.us@c.us",
        "1@c.usx",
        "1@xc.us",
        "1@cxus",
        "1@s.whatsapp.org",
        "1@broadcast",
        "1@g.us",
        "1 @c.us",
        " 1@c.us",
        "1@c.us\n",
        "1\n",
        "1\n@c.us",
        "1@c.us\x00",
        "a/b",
        "a#b",
        "a\\b",
        "*",
        "..",
        "9" * 65,
        "9" * 65 + "_1",
        "1@ſ.whatsapp.com",  # long s, whose upper case is S
        "٣@c.us",  # an Arabic-Indic three
        "1٣@c.us",
        "1_٣",
        "é@c.us",
        "1" * 100_000,
        "1@c.us" * 50_000,
    ],
)
def test_r11_what_is_no_user_jid_is_refused(text: str) -> None:
    with pytest.raises(JidError):
        parse_user(text)


@pytest.mark.parametrize("parse", [parse_user, parse_group, parse_chat])
@pytest.mark.parametrize("value", [None, 1, 1.0, True, b"1@c.us", ["1@c.us"], {}, ("1",)])
def test_r11_what_is_no_string_is_no_jid(parse: Callable[[object], object], value: object) -> None:
    with pytest.raises(JidError):
        parse(value)


@pytest.mark.parametrize("domain", ["g.us", "G.US"])
def test_r11_a_group_has_its_own_domain(domain: str) -> None:
    assert parse_group(f"{GROUP}@{domain}") == GROUP


@pytest.mark.parametrize("local", ["1_2", "abc_1", "a" * 64])
def test_r11_nothing_is_stripped_from_a_group(local: str) -> None:
    assert parse_group(f"{local}@g.us") == local


@pytest.mark.parametrize(
    "text",
    [
        "",
        GROUP,
        "@g.us",
        f"{GROUP}@c.us",
        f"+{GROUP}@g.us",
        f"{GROUP}:1@g.us",
        f"{GROUP}@g.us\n",
        f"{GROUP}@gxus",
        "a" * 65 + "@g.us",
        "٣@g.us",
    ],
)
def test_r11_what_is_no_group_jid_is_refused(text: str) -> None:
    with pytest.raises(JidError):
        parse_group(text)


def test_r11_a_chat_is_a_user_or_a_group() -> None:
    assert parse_chat(f"+{PHONE}:1@c.us") == (PHONE, False)
    assert parse_chat(PHONE) == (PHONE, False)
    assert parse_chat(f"{GROUP}@g.us") == (GROUP, True)
    assert parse_chat(f"{GROUP}@G.us") == (GROUP, True)


@pytest.mark.parametrize("text", ["", "1@broadcast", "+1@g.us", "@g.us", "1@g.us\n", "g.us\n"])
def test_r11_what_is_neither_user_nor_group_is_no_chat(text: str) -> None:
    with pytest.raises(JidError):
        parse_chat(text)


def test_an_error_shows_hostile_text_escaped() -> None:
    with pytest.raises(JidError) as caught:
        parse_user("1\n2026 fake log line\x1b[2J")

    assert str(caught.value).isprintable()


def test_r12_domains_in_output() -> None:
    assert user_com(PHONE) == "917069852821@s.whatsapp.com"
    assert user_net(PHONE) == "917069852821@s.whatsapp.net"
    assert user_cus(PHONE) == "917069852821@c.us"
    assert group_jid(GROUP) == "917069852821-1566557065@g.us"


@given(plain_locals)
def test_r12_every_spelling_that_goes_out_is_read_back(local: str) -> None:
    for spell in (user_com, user_net, user_cus):
        assert parse_user(spell(local)) == local
        assert parse_chat(spell(local)) == (local, False)
    assert parse_chat(group_jid(local)) == (local, True)


@given(st.one_of(st.text(), st.text("+:_@.-cgsu19A", max_size=90)))
def test_r11_any_text_is_refused_or_read_to_a_fixed_point(text: str) -> None:
    try:
        local, is_group = parse_chat(text)
    except JidError:
        return
    spell = group_jid if is_group else user_cus
    assert parse_chat(spell(local)) == (local, is_group)
    assert local.isascii()
    assert 1 <= len(local) <= 64
