"""Settings that bound each other: at least what, who may be served openly, what a mode needs."""

import ipaddress
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from relay.settings.hosts import cluster_lacks
from relay.settings.sizes import MIB
from relay.settings.tables import Settings
from relay.settings.words import quoted


class _AtLeast(NamedTuple):
    """`key` must be at least `factor` times `other`."""

    key: str
    factor: int
    other: str
    why: str


_AT_LEAST: Final = (
    _AtLeast(
        "dedupe.retention_days",
        1,
        "mailbox.ttl_days",
        "a resend must be known while the first waits",
    ),
    _AtLeast("limits.frame_bytes", 1, "limits.message_bytes", "a message travels in one frame"),
    _AtLeast(
        "mailbox.max_bytes", 1, "limits.message_bytes", "every message must fit an empty mailbox"
    ),
    _AtLeast(
        "flow.session_max_bytes",
        1,
        "flow.session_pause_bytes",
        "a session pauses before it closes",
    ),
    _AtLeast("flow.session_max_bytes", 1, "flow.q_frame_bytes", "a q frame is written whole"),
    # An element of a q frame is escaped twice, at worst to 7 times its size (PROTOCOL 2.2 rule
    # 3); 8 leaves room for the frame around it.
    _AtLeast(
        "flow.session_max_bytes",
        8,
        "limits.message_bytes",
        "a message grows when escaped in a q",
    ),
    _AtLeast("flow.link_bytes", 1, "limits.frame_bytes", "a frame crosses a link whole"),
    _AtLeast("flow.link_bytes", 1, "flow.page_bytes", "a page crosses a link whole"),
    _AtLeast(
        "store.max_map_bytes", 1, "store.map_bytes", "it is the limit of a map that starts there"
    ),
    _AtLeast(
        "supervisor.stop_deadline_s",
        2,
        "supervisor.drain_notice_s",
        "clients are sent away after the notice",
    ),
    _AtLeast(
        "cluster.isolate_s", 1, "cluster.detect_s", "a host that is cut off counts as lost first"
    ),
    _AtLeast("webhooks.retry_max_s", 1, "webhooks.retry_min_s", "waits grow from the first"),
    _AtLeast(
        "supervisor.restart_max_s", 1, "supervisor.restart_min_s", "waits grow from the first"
    ),
    _AtLeast(
        "supervisor.hung_after_s", 3, "supervisor.heartbeat_s", "one late heartbeat is no hang"
    ),
)

# Of a message to a group with members in each range of a cluster. What a log takes as one record is
# 64 MiB (workers.log.parts), and a batch has more.
MOST_COPIES_BYTES: Final = 32 * MIB

# The settings that `exposure` looks at.
EXPOSING: Final = frozenset(["server.host", "server.insecure_open", "auth.mode"])
_SHARED: Final = "HS256"  # the algorithm whose keys are secrets


def disagreements(
    settings: Settings, name_of: Callable[[str], str], *, but: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yield the key of each setting that does not go with another, and a line that says why.

    `name_of` gives the line's name of a key. Settings of the keys in `but` are not judged.
    """
    for key, factor, other, why in _AT_LEAST:
        if key in but or other in but:
            continue
        value, least = _get(settings, key), factor * _get(settings, other)
        if value < least:
            times = f"{factor} times " if factor > 1 else ""
            yield (
                key,
                f"{name_of(key)} = {value} must be at least {times}{name_of(other)}, here {least}:"
                f" {why}",
            )
    if settings.cluster.is_on and not {"limits.message_bytes", "cluster.ranges"} & set(but):
        yield from _large_records(settings, name_of)
    for key in ("admission.exempt", "server.trusted_proxies"):
        for network in () if key in but else _get(settings, key):
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                yield key, f"{name_of(key)}: {error}"
    if not {"admin.host", "admin.tls_certificate", "admin.tls_key", "admin.chat_url"} & set(but):
        yield from _admin(settings, name_of)


def _large_records(settings: Settings, name_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    most = MOST_COPIES_BYTES // settings.cluster.ranges
    if settings.limits.message_bytes > most:
        key = "limits.message_bytes"
        yield (
            key,
            f"{name_of(key)} = {settings.limits.message_bytes} must be at most {most} with"
            f" {name_of('cluster.ranges')} = {settings.cluster.ranges}: a message to a group is in"
            " one record of a log as often",
        )


def _admin(settings: Settings, name_of: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    admin = settings.admin
    has_tls = bool(admin.tls_certificate)
    if has_tls != bool(admin.tls_key):
        key = "admin.tls_key" if has_tls else "admin.tls_certificate"
        yield key, f"{name_of(key)} is missing: a certificate and its key go together"
    elif not has_tls and not _is_loopback(admin.host):
        yield (
            "admin.host",
            f"{name_of('admin.host')} = {quoted(admin.host)} is not a loopback address: its tokens"
            " need admin.tls_certificate and admin.tls_key on their way",
        )
    url = urlsplit(admin.chat_url)
    if has_tls and url.scheme == "ws" and not _is_loopback(url.hostname or ""):
        yield (
            "admin.chat_url",
            f"{name_of('admin.chat_url')} = {quoted(admin.chat_url)}: with admin.tls_certificate"
            " the page comes by https, and browsers let such a page connect by wss:// alone",
        )


def exposure(settings: Settings) -> str | None:
    """Say that everyone who reaches the host could be anyone, if nobody said that it is meant."""
    server = settings.server
    if settings.auth.mode != "open" or server.insecure_open or _is_loopback(server.host):
        return None
    return (
        f"server.host = {quoted(server.host)} is not a loopback address, and with auth.mode ="
        ' "open" everyone who reaches it can be anyone: have another auth.mode say who is who, as'
        " `token` does. Without that allowed are 127.0.0.0/8, ::1 and localhost, or any host with"
        " server.insecure_open = true (--insecure-open)"
    )


class Lack(NamedTuple):
    """What logins, webhooks or a cluster lack or must not have; `keys` are looked at."""

    keys: frozenset[str]
    line: str


def lacks(settings: Settings) -> list[Lack]:
    """Return what keeps logins, webhooks or a cluster from working; the settings are whole."""
    mode, found = settings.auth.mode, []

    def lack(line: str, *keys: str) -> None:
        found.append(Lack(frozenset({"auth.mode", *keys}), line))

    if mode == "open" and settings.auth.deny_file:
        lack('auth.deny_file keeps nobody out with auth.mode = "open"', "auth.deny_file")
    if mode == "proxy" and not settings.server.trusted_proxies:
        lack('auth.mode = "proxy" needs server.trusted_proxies', "server.trusted_proxies")
    if mode == "http" and not settings.auth_http.url:
        lack('auth.mode = "http" needs auth_http.url', "auth_http.url")
    if mode == "token":
        token = settings.auth_token
        public = {
            "auth_token.key_files": bool(token.key_files),
            "auth_token.jwks_file": bool(token.jwks_file),
            "auth_token.jwks_url": bool(token.jwks_url),
        }
        by, secret = f'auth_token.algorithm = "{token.algorithm}"', "auth_token.secret_file"
        looked_at = ("auth_token.algorithm", secret, *public)
        named = [key for key, is_named in public.items() if is_named]
        if token.algorithm == _SHARED:
            if not token.secret_file:
                lack(f"{by} needs {secret}", *looked_at)
            if named:
                lack(f"{by} goes by {secret} alone, not by {' and '.join(named)}", *looked_at)
        else:
            if token.secret_file:
                lack(f"{by} has no use for {secret}", *looked_at)
            if token.jwks_url and not _is_safe(token.jwks_url):
                lack(
                    "auth_token.jwks_url: https:// is expected, or http:// to a loopback address:"
                    " whoever answers for it can be anyone",
                    *looked_at,
                )
            if len(named) != 1:
                has = f", here {' and '.join(named)}" if named else ""
                lack(f"{by} needs one of {', '.join(public)}{has}", *looked_at)
    found += _webhooks(settings)
    found += (Lack(frozenset(keys), line) for keys, line in cluster_lacks(settings))
    return found


def _webhooks(settings: Settings) -> Iterator[Lack]:
    hooks = settings.webhooks
    if not hooks.url:
        return
    needed = {
        "webhooks.secret_file": bool(hooks.secret_file),
        "webhooks.events": bool(hooks.events),
    }
    for key, is_there in needed.items():
        if not is_there:
            yield Lack(frozenset({"webhooks.url", key}), f"webhooks.url needs {key}")
    if settings.admin.disabled:
        yield Lack(
            frozenset({"webhooks.url", "admin.disabled"}),
            "webhooks.url needs the admin process, which posts events: admin.disabled is set",
        )
    if not _is_safe(hooks.url):
        yield Lack(
            frozenset({"webhooks.url"}),
            "webhooks.url: https:// is expected, or http:// to a loopback address: on the way"
            " anybody could read who writes to whom",
        )


def _get(settings: Settings, key: str) -> Any:
    table, _, name = key.partition(".")
    return getattr(getattr(settings, table), name)


def _is_safe(url: str) -> bool:
    """Tell whether nobody on the way can answer in place of whose URL it is."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        is_whole = bool(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    return is_whole and (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host)))


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name may resolve to anything
    if isinstance(address, ipaddress.IPv4Address):
        return address in ipaddress.IPv4Network("127.0.0.0/8")
    return address == ipaddress.IPv6Address("::1")
