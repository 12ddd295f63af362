"""Which extensions are loaded: those of this package, and those that the settings name besides."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

import relay.extensions
from relay.errors import SettingsError
from relay.extensions.contract import PLACES, Extension, Request
from relay.protocol.request import RequestKey, RequestRow
from relay.settings.rows import Table
from relay.settings.tables import Settings

# Tags of the core: an extension may have kinds of `action`, which only "set" and texts are.
_CORE_TAGS: Final = frozenset({"auth", "Msg", "MsgInfo"})
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
# Not in this package: where no events are told no hook has anybody to call.
_WEBHOOKS: Final = "relay.webhooks.half"
_OF_NO_EXTENSION: Final = frozenset({"contract", "registry"})


class Registry:
    """The extensions of one relay, and what each of them adds.

    Raises:
        ValueError: two of them claim the same thing, or one claims what is the core's.
    """

    def __init__(self, extensions: Iterable[Extension]) -> None:
        self.extensions: dict[str, Extension] = {}
        self.requests: dict[RequestKey, Request] = {}
        self.rows: dict[RequestKey, RequestRow] = {}
        self._granted: set[str] = set()
        for extension in extensions:
            self._add(extension)
        # What a login may be granted, in the order in which extensions are loaded (E1).
        self.capabilities = tuple(
            name for extension in self.extensions.values() for name in extension.grants
        )

    def _add(self, extension: Extension) -> None:
        name = extension.name
        if not _NAME.fullmatch(name):
            raise ValueError(f"an extension is named {name!r}")
        if name in self.extensions:
            raise ValueError(f"two extensions are named {name}")
        for key, request in extension.requests.items():
            if key[0] in _CORE_TAGS or key in (("action", ""), ("action", "relay")):
                raise ValueError(f"{name} claims the request {key}, which is the core's")
            if key in self.rows:
                raise ValueError(f"{name} and {self.rows[key].owner} claim the request {key}")
            half = "front" if request.worker_of is None else "worker"
            if getattr(extension, half) is None:
                raise ValueError(f"{name} has no half in the {half} that answers {key}")
            self.requests[key] = request
            self.rows[key] = RequestRow(name, key, request.decode, request.before_login)
        trees = [tree.name for tree in extension.trees]
        if len(set(trees)) < len(trees):
            raise ValueError(f"{name} names a tree twice")
        for tree in trees:
            if not _NAME.fullmatch(tree):
                raise ValueError(f"{name} has a tree named {tree!r}")
        for step in extension.steps:
            if step.after not in PLACES:
                allowed = ", ".join(map(repr, PLACES))
                raise ValueError(
                    f"{name} has a step of sends after {step.after!r}, not one of {allowed}"
                )
        if extension.worker is None and (extension.steps or extension.trees):
            raise ValueError(f"{name} has steps or trees, but no half in the worker")
        for grant in extension.grants:
            if not (isinstance(grant, str) and grant) or grant in self._granted:
                raise ValueError(f"{name} grants {grant!r}, which is no name or granted already")
            self._granted.add(grant)
        self.extensions[name] = extension

    @property
    def tables(self) -> Mapping[str, type[Table]]:
        """The settings table of each extension that has one, by its name."""
        return {
            name: extension.settings
            for name, extension in self.extensions.items()
            if extension.settings is not None
        }


@cache
def load(modules: tuple[str, ...] = ()) -> Registry:
    """Return the extensions of this package and of `modules`, in that order.

    Raises:
        SettingsError: a module of `modules` cannot be imported or has no `EXTENSION`, or what it
            claims is another's.
    """
    own = sorted(
        f"{relay.extensions.__name__}.{found.name}"
        for found in pkgutil.iter_modules(relay.extensions.__path__)
        if found.name not in _OF_NO_EXTENSION
    )
    built_in = [_extension_of(module) for module in own]
    try:
        return Registry([*built_in, *map(_extension_of, modules)])
    except (ValueError, TypeError, LookupError) as error:
        raise SettingsError(f"the extensions do not go together: {error}") from None


def of_worker(settings: Settings) -> Registry:
    """Return the extensions that a worker has: the others', and what notes events if any are told.

    Raises:
        SettingsError: as `load`.
    """
    webhooks = (_WEBHOOKS,) if settings.webhooks.url else ()
    return load((*settings.server.extensions, *webhooks))


def tables_of(modules: Sequence[str]) -> Mapping[str, type[Table]]:
    """Return the settings tables of the extensions that are loaded with `modules`."""
    return load(tuple(modules)).tables


def _extension_of(module: str) -> Extension:
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever it does there, it is the operator's
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        line = " ".join(str(error).split())
        raise SettingsError(f"the extension {module} cannot be imported: {kind}{line}") from None
    extension = getattr(found, "EXTENSION", None)
    if not isinstance(extension, Extension):
        raise SettingsError(f"the extension {module} has no EXTENSION")
    return extension
