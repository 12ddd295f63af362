"""Settings: what an operator may tune, a row each (see relay.settings.rows).

They come from a TOML file (config/relay.toml holds every default), then from command-line flags,
which beat the file. `resolve` then fills in what depends on the machine. Everything is checked in
relay.settings, once; past it a setting is trusted. A relay that runs takes another file by
`apply_live`, but for the settings of `NEEDS_RESTART`.

A setting is added to its table in running, logins, serving, keeping, administering, webhooks or
clustering, and nowhere else;
`python -m relay.settings.explain --write` then brings
config/relay.toml and README up to date.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import field

from relay.settings.administering import AdminSettings
from relay.settings.clustering import ClusterSettings
from relay.settings.keeping import AckSettings, DedupeSettings, MailboxSettings, StoreSettings
from relay.settings.logins import AuthSettings, HttpSettings, ProxySettings, TokenSettings
from relay.settings.quotas import QuotaSettings
from relay.settings.rows import Setting, Table, settings_in
from relay.settings.running import (
    MAX_PROCESSES,
    LogSettings,
    ServerSettings,
    SupervisorSettings,
    TlsSettings,
)
from relay.settings.serving import (
    AdmissionSettings,
    FlowSettings,
    KeepaliveSettings,
    LimitSettings,
)
from relay.settings.sizes import GIB, KIB, MIB, TIB
from relay.settings.webhooks import WebhookSettings

__all__ = [
    "GIB",
    "KIB",
    "MAX_PROCESSES",
    "MIB",
    "NEEDS_RESTART",
    "SETTINGS",
    "TABLES",
    "TIB",
    "AckSettings",
    "AdminSettings",
    "AdmissionSettings",
    "AuthSettings",
    "ClusterSettings",
    "DedupeSettings",
    "FlowSettings",
    "HttpSettings",
    "KeepaliveSettings",
    "LimitSettings",
    "LogSettings",
    "MailboxSettings",
    "ProxySettings",
    "QuotaSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "SupervisorSettings",
    "TlsSettings",
    "TokenSettings",
    "WebhookSettings",
    "extension_settings",
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings; `Settings()` is the defaults, as in config/relay.toml.

    An unknown key is refused also where the children read settings.json. Over 15 fields, one a
    table.
    """

    server: ServerSettings = field(default_factory=ServerSettings)
    tls: TlsSettings = field(default_factory=TlsSettings)
    auth: AuthSettings = field(default_factory=AuthSettings)
    auth_token: TokenSettings = field(default_factory=TokenSettings)
    auth_http: HttpSettings = field(default_factory=HttpSettings)
    auth_proxy: ProxySettings = field(default_factory=ProxySettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    keepalive: KeepaliveSettings = field(default_factory=KeepaliveSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    mailbox: MailboxSettings = field(default_factory=MailboxSettings)
    dedupe: DedupeSettings = field(default_factory=DedupeSettings)
    acks: AckSettings = field(default_factory=AckSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    supervisor: SupervisorSettings = field(default_factory=SupervisorSettings)
    log: LogSettings = field(default_factory=LogSettings)
    admin: AdminSettings = field(default_factory=AdminSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    # The tables of the extensions, by extension: checked, complete, and plain as JSON has them.
    # `extension_settings` makes a typed one of them.
    extensions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_T = TypeVar("_T", bound=Table)


def extension_settings(settings: Settings, name: str, kind: type[_T]) -> _T:
    """Return the table [`name`] of the extension `name`, of its type; defaults if there is none."""
    return msgspec.convert(settings.extensions.get(name, {}), kind)


# The relay's own tables, by name and in order.
TABLES: Final[Mapping[str, type[Table]]] = {
    each.name: each.type for each in msgspec.structs.fields(Settings) if each.name != "extensions"
}
# Their settings by key, such as "server.port".
SETTINGS: Final[Mapping[str, Setting]] = {
    setting.key: setting
    for table, kind in TABLES.items()
    for setting in settings_in(table, kind).values()
}
# What holds until the relay starts again; SIGHUP applies every other setting at once.
NEEDS_RESTART: Final = frozenset(key for key, setting in SETTINGS.items() if setting.row.restart)
