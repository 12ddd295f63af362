"""Where settings come from: a TOML file, then command-line flags, which beat it; all checked.

Everything is checked here, once; past this module a setting is trusted. `resolve` fills in what
depends on the machine.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from relay.errors import SettingsError
from relay.settings.agreement import EXPOSING, exposure, lacks
from relay.settings.catalogue import OWN, Catalogue, TablesOf, flag_of, no_tables
from relay.settings.layer import SourceLayer
from relay.settings.rows import Setting, plain
from relay.settings.tables import MAX_PROCESSES, SETTINGS, Settings
from relay.settings.tomlfile import exposed_secrets, read_document
from relay.settings.words import one_line

_EXTENSIONS: Final[Setting] = SETTINGS["server.extensions"]


class Draft(NamedTuple):
    """Settings as they were read, good only if there are no `mistakes`, one line each.

    The settings of the keys in `refused` are not what was asked for: a mistake was made of them.
    """

    settings: Settings
    mistakes: tuple[str, ...]
    refused: frozenset[str]

    def checked(self) -> Settings:
        """Return the settings.

        Raises:
            SettingsError: there are mistakes; `problems` of it are all of them.
        """
        if self.mistakes:
            raise SettingsError(*self.mistakes)
        return self.settings


def load_settings(path: Path | None, tables_of: TablesOf = no_tables) -> Settings:
    """Return the defaults with the TOML file at `path` over them; None is no file.

    `tables_of` tells the tables of the extensions that the file may load and set. `resolve` has
    yet to be called on the result, after the flags.

    Raises:
        SettingsError: a line a mistake, naming the file, the key or line, and what is allowed.
    """
    return _draft(path, {}, tables_of).checked()


def override(settings: Settings, flags: Mapping[str, object]) -> Settings:
    """Return `settings` with those of `flags` replaced, such as {"server.port": 9000}.

    The values are as typed on a command line: "9000" is as good as 9000. The settings of
    extensions have no flags.

    Raises:
        SettingsError: as for a file; the line names the flag (see `flag_of`).
    """
    layer = _flag_layer(OWN, flags)
    settings = layer.over(settings, _nested(flags))
    layer.judge_together(settings)
    return Draft(settings, tuple(layer.mistakes), frozenset(layer.refused)).checked()


def draft_settings(
    path: Path | None, flags: Mapping[str, object], tables_of: TablesOf = no_tables
) -> Draft:
    """Return the defaults with the file at `path` over them, and `flags` over that.

    As `load_settings` and `override`, and judged as `resolve` does it, but all mistakes are told.
    """
    draft = _draft(path, flags, tables_of)
    mistakes, refused = [*draft.mistakes], draft.refused
    exposed = None if refused & EXPOSING else exposure(draft.settings)
    if exposed:
        mistakes.append(exposed)
    for lack in lacks(draft.settings):
        if not lack.keys & draft.refused:
            mistakes.append(lack.line)
            refused |= lack.keys
    return Draft(draft.settings, tuple(mistakes), refused)


def resolve(settings: Settings, *, cpu_count: int) -> Settings:
    """Return `settings` as the child processes read them: counts filled in, paths absolute.

    `cpu_count` is the number of cores that the relay may use. To be called after `override`,
    because it judges together what must agree wherever each was given.

    Raises:
        SettingsError: open auth mode on a host that is not loopback, without insecure_open; or the
            mode lacks what it needs.
    """
    exposed = exposure(settings)
    mistakes = [exposed] if exposed else []
    mistakes += [lack.line for lack in lacks(settings)]
    if mistakes:
        raise SettingsError(*mistakes)
    # The children run in the directory of the code, where a relative path would be another file.
    server, admin, tls = settings.server, settings.admin, settings.tls
    auth, token, hooks = settings.auth, settings.auth_token, settings.webhooks
    # Two cores a pair: one for a front, one for a worker.
    default = min(max(1, cpu_count // 2), MAX_PROCESSES)
    return msgspec.structs.replace(
        settings,
        server=msgspec.structs.replace(
            server,
            fronts=server.fronts or default,
            workers=settings.cluster.ranges
            if settings.cluster.is_on
            else server.workers or default,
            data=os.path.abspath(server.data),
            groups=_absolute(server.groups),
        ),
        tls=msgspec.structs.replace(
            tls,
            certificate_files=tuple(map(_absolute, tls.certificate_files)),
            key_files=tuple(map(_absolute, tls.key_files)),
            client_ca_file=_absolute(tls.client_ca_file),
        ),
        auth=msgspec.structs.replace(auth, deny_file=_absolute(auth.deny_file)),
        auth_token=msgspec.structs.replace(
            token,
            secret_file=_absolute(token.secret_file),
            key_files=tuple(map(_absolute, token.key_files)),
            jwks_file=_absolute(token.jwks_file),
        ),
        admin=msgspec.structs.replace(
            admin,
            token_file=_absolute(admin.token_file),
            tls_certificate=_absolute(admin.tls_certificate),
            tls_key=_absolute(admin.tls_key),
            backup_directory=_absolute(admin.backup_directory),
        ),
        webhooks=msgspec.structs.replace(
            hooks,
            secret_file=_absolute(hooks.secret_file),
            ca_file=_absolute(hooks.ca_file),
        ),
    )


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _draft(path: Path | None, flags: Mapping[str, object], tables_of: TablesOf) -> Draft:
    mistakes: list[str] = []
    refused: set[str] = set()
    document: Mapping[str, Any] = {}
    place = f"{one_line(str(path))}: " if path else ""
    if path:
        try:
            document = read_document(path)
            mistakes += [f"{place}{line}" for line in exposed_secrets(path, document)]
        except SettingsError as error:
            mistakes += error.problems
            refused.update(SETTINGS)  # whatever it was going to say of them
    options = _nested(flags)

    known = _known(tables_of, document, options)
    mistakes += [f"{place}{_EXTENSIONS.key}: {problem}" for problem in known.problems]
    catalogue = known.catalogue
    if not known.is_complete:
        document = {
            name: said
            for name, said in document.items()
            if name in catalogue.tables or not isinstance(said, dict)
        }

    settings = Settings(
        extensions={name: plain(kind()) for name, kind in catalogue.extensions.items()}
    )
    file = SourceLayer(catalogue, place, str, strict=True)
    settings = file.over(settings, document)
    file.judge_together(settings, but=frozenset(refused))
    line = _flag_layer(catalogue, flags)
    settings = line.over(settings, options)
    refused |= file.refused
    line.judge_together(settings, but=frozenset(refused))
    mistakes += file.mistakes + line.mistakes
    return Draft(settings, tuple(mistakes), frozenset(refused | line.refused))


class _Known(NamedTuple):
    """The tables that a file may have; not `is_complete`: others that nobody could tell too."""

    catalogue: Catalogue
    is_complete: bool
    problems: tuple[str, ...] = ()


def _known(tables_of: TablesOf, *documents: Mapping[str, Any]) -> _Known:
    """Return the tables there are with server.extensions as the last of `documents` has it."""
    modules: Sequence[str] = _EXTENSIONS.default
    is_complete = True
    for document in documents:
        server = document.get(_EXTENSIONS.table)
        if isinstance(server, dict) and _EXTENSIONS.name in server:
            try:
                modules = msgspec.convert(server[_EXTENSIONS.name], _EXTENSIONS.type)
            except msgspec.ValidationError:  # the layers tell that
                is_complete = False
    problems: tuple[str, ...] = ()
    for loaded in (modules, ()):
        try:
            return _Known(Catalogue(tables_of(loaded)), is_complete and not problems, problems)
        except SettingsError as error:
            problems = problems or error.problems
    return _Known(OWN, False, problems)


def _flag_layer(catalogue: Catalogue, flags: Mapping[str, object]) -> SourceLayer:
    def name_of(key: str) -> str:
        return flag_of(key) if key in flags else key

    return SourceLayer(catalogue, "", name_of, strict=False)


def _nested(flags: Mapping[str, object]) -> dict[str, Any]:
    """Return `flags`, which are by dotted key, as a file would have them."""
    document: dict[str, Any] = {}
    for key, value in flags.items():
        table, dot, name = key.partition(".")
        if dot:
            document.setdefault(table, {})[name] = value
        else:
            document[key] = value
    return document
