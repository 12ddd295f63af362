"""What the files of this host have to do with the accord of its cluster (relay.disk.accord).

At a start, and whenever another host has made another accord, that one holds here, and a line of
the log says where the files differ. At a reload the files are judged, and the agent is asked to
have them be the next accord; nothing of them holds before a majority has it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from relay import clock, log
from relay.auth.secretfile import MAX_BYTES
from relay.disk.accord import (
    Accord,
    Difference,
    Origin,
    Rows,
    agreed_after,
    differences,
    old_ones,
    place_files,
    read_accord,
    read_agreed,
    rows_of,
    write_agreed,
)
from relay.disk.groupfile import Group, load_groups
from relay.errors import DiskError, RelayError
from relay.process.memo import write_memo
from relay.settings.givenfile import read_given
from relay.settings.sharing import named_files, shared_values, with_shared
from relay.settings.tables import Settings
from relay.supervision.events import Asker
from relay.supervision.reload import InForce

# Of rows that differ the log, and an answer, name the first.
MOST_NAMED: Final = 10

logger = log.get_logger()


class Taken(NamedTuple):
    """Whether other settings hold now, and other groups."""

    settings: bool = False
    groups: bool = False


class Wanted(NamedTuple):
    """What is to be the next accord: the agent is asked."""

    number: int  # of this supervisor's askings
    settings: Settings  # all that the files say
    accord: Accord
    files: Rows
    by: Asker | None  # who is to hear of it


class Sharing:
    """That of one host."""

    def __init__(self, in_force: InForce, check: Callable[[Settings], object]) -> None:
        """Know of no accord yet; `check` refuses keys and secrets that are unusable."""
        self._in_force = in_force
        self._check = check
        self._host = in_force.settings.cluster.host_name
        self._data = Path(in_force.settings.server.data)
        self._agreed = read_agreed(self._data)
        self._asked = 0  # so often
        self.wanted: Wanted | None = None  # while the agent is asked
        self.memo: int | None = None  # of that accord
        self._refusal = ""  # why the accord is not taken, as was said last

    @property
    def origin(self) -> Origin:
        """Of the accord that holds here; of none that of no accord."""
        return self._in_force.accord.origin if self._in_force.accord else Origin()

    # ------------------------------------------------------------------------------- the accord

    def join(self) -> None:
        """Begin with the accord that held here last, if any, whatever the files say."""
        self._refusal = ""
        try:
            self._begin(read_accord(self._data))
        except RelayError as error:
            logger.error("accord.refused", reason=str(error), kept="what the files here say")

    def take_over(self, origin: Origin | None) -> None:
        """Go on with the accord that a predecessor went by."""
        try:
            found = read_accord(self._data)
        except RelayError:
            return  # it is told when the agent has it taken
        if found is not None and found.origin == origin:
            self._in_force.accord = found
        try:
            self._place(found)  # if it is a newer one, that is taken soon
        except RelayError as error:  # what is there is read on
            logger.error("accord.files_unusable", reason=str(error))

    def place_files(self) -> None:
        """Have the files whose content is shared be where this host's processes read them.

        Raises:
            RelayError: one cannot be read or written.
        """
        self._place(self._in_force.accord)

    def take(self) -> Taken:
        """Have the accord hold that the agent has found; the report tells of it."""
        try:
            accord = read_accord(self._data)
            if accord is None or accord.origin == self.origin:
                return Taken()
            taken = self._adopt(accord, self._in_force.asked, place="the cluster")
        except (RelayError, OSError) as error:
            if str(error) != self._refusal:
                self._refusal = str(error)
                logger.error("accord.refused", reason=self._refusal, kept="what held before")
            self._in_force.report.refusals.append(str(error))
            return Taken()
        self._refusal = ""
        logger.info("accord.taken", number=self.origin.number, by=self.origin.by)
        self.look_at_files()
        return taken

    def look_at_files(self) -> None:
        """Say where the files differ from the accord, and note where they agree."""
        try:
            settings = self._in_force.load()
            files = self._rows_of(settings, _own_groups(settings), _contents(settings))
        except RelayError as error:
            logger.warning("accord.files_unusable", reason=str(error))
            return
        accord = self._accord_rows()
        if accord is not None and (found := differences(files, accord)):
            logger.warning(
                "accord.files_differ",
                accord=str(self.origin),
                rows=self._words(found),
                hint="the cluster's hold; bring the files up to date",
            )
        self._note(files)

    # ------------------------------------------------------------------------------- a reload

    def begin(self, by: Asker | None) -> Taken | Wanted:
        """Read the files: return what the agent is to be asked, or what came of them at once."""
        try:
            if self.wanted is not None:
                raise RelayError("another reload is under way")
            settings = self._in_force.load()
            self._in_force.judge(settings)
            self._check(settings)
            groups, contents = _own_groups(settings), _contents(settings)
            files = self._rows_of(settings, groups, contents)
            if self._is_settled(files):
                return self._take_files(settings, self._in_force.accord, files)
            before = self._in_force.accord or Accord(Origin(), {})
            accord = Accord(
                Origin(self.origin.number + 1, self._host, clock.now_ms()),
                # What another version of the relay has said stays.
                {**before.settings, **self._values_of(settings)},
                before.groups if groups is None else groups,
                {**before.files, **contents},
            )
            self.memo = write_memo("accord", accord.encoded())
        except (RelayError, OSError) as error:
            self._in_force.refuse(str(error))
            return Taken()
        self._asked += 1
        self.wanted = Wanted(self._asked, settings, accord, files, by)
        return self.wanted

    def settle(self, number: int, refusal: str) -> tuple[Taken, Wanted] | None:
        """Take what the agent says: "" where all have it. None: that was settled before."""
        wanted = self.wanted
        if wanted is None or wanted.number != number:
            return None
        self.wanted = None
        if self.memo is not None:
            os.close(self.memo)
            self.memo = None
        if refusal:
            self._in_force.refuse(refusal)
            return Taken(), wanted
        origin = wanted.accord.origin
        logger.info("accord.shared", number=origin.number)
        self._in_force.report.taken.append(f"all hosts take it: settings {origin.number}")
        return self._take_files(wanted.settings, wanted.accord, wanted.files), wanted

    def _is_settled(self, files: Rows) -> bool:
        """Tell whether the accord says all that the files say.

        Raises:
            RelayError: they are older, of some rows.
        """
        accord = self._accord_rows()
        if accord is None:
            return False
        found = differences(files, accord)
        old = found if self._agreed is None else old_ones(found, self._agreed)
        if old:
            raise RelayError(
                f"the files here are older than the settings of the cluster ({self.origin}):"
                f" {'; '.join(self._words(old))}. Bring them up to date; `relay cluster settings`"
                " shows what holds"
            )
        is_new = files.values.keys() - accord.values.keys()
        return not (found or is_new or (files.says_groups and not accord.says_groups))

    def _take_files(self, settings: Settings, accord: Accord | None, files: Rows) -> Taken:
        try:
            taken = self._adopt(accord, settings)
        except (RelayError, OSError) as error:
            self._in_force.refuse(str(error))
            return Taken()
        self._note(files)
        return taken

    # ------------------------------------------------------------------------------- both

    def _begin(self, accord: Accord | None) -> None:
        if accord is not None:
            held = self._in_force
            shared = with_shared(held.asked, accord.settings, held.extensions)
            held.begin_with(held.judge(shared).settings, accord)
            logger.info("accord.joined", number=accord.origin.number, by=accord.origin.by)

    def _adopt(self, accord: Accord | None, settings: Settings, *, place: str = "") -> Taken:
        """Have an accord hold, and of `settings` what is not shared.

        Raises:
            RelayError, OSError: that cannot be; all is as it was.
        """
        held = self._in_force
        if accord is not None:
            settings = with_shared(settings, accord.settings, held.extensions)
        found = held.judge(settings)
        before, held.accord = held.accord, accord
        try:
            self._place(accord)
            has_others = held.names_groups and held.keep_groups(held.read_groups())
        except (RelayError, OSError):
            held.accord = before
            raise
        return Taken(held.adopt(found, place=place), has_others)

    def _note(self, files: Rows) -> None:
        agreed = agreed_after(self._agreed, files, self._accord_rows())
        if agreed == self._agreed:
            return
        self._agreed = agreed
        try:
            write_agreed(self._data, agreed)
        except DiskError as error:
            logger.error("accord.not_noted", reason=str(error))

    def _accord_rows(self) -> Rows | None:
        accord = self._in_force.accord
        return None if accord is None else accord.rows

    def _rows_of(
        self,
        settings: Settings,
        groups: dict[str, Group] | None,
        contents: dict[str, tuple[bytes, ...]],
    ) -> Rows:
        return rows_of(self._values_of(settings), groups, contents)

    def _place(self, accord: Accord | None) -> None:
        named = named_files(self._in_force.asked)
        given = {k: v for k, v in (accord.files if accord else {}).items() if k in named}
        if given.keys() != named.keys():
            given = {**_contents(self._in_force.asked), **given}
        if given:
            self._in_force.place(place_files(self._data, given))

    def _values_of(self, settings: Settings) -> dict[str, object]:
        return shared_values(settings, self._in_force.extensions)

    def _words(self, found: list[Difference]) -> list[str]:
        groups = self._in_force.asked.server.groups
        words = [
            each.words(groups if each.is_group else self._in_force.place_of(each.key))
            for each in found[:MOST_NAMED]
        ]
        return words + ([f"and {left} more"] if (left := len(found) - MOST_NAMED) > 0 else [])


def _own_groups(settings: Settings) -> dict[str, Group] | None:
    """Return the groups of this host's own file, None where none is named."""
    path = settings.server.groups
    return load_groups(Path(path), max_members=settings.limits.group_members) if path else None


def _contents(settings: Settings) -> dict[str, tuple[bytes, ...]]:
    """Return what this host's own files hold whose content is shared."""
    return {
        key: tuple(read_given(Path(path), max_bytes=MAX_BYTES) for path in paths)
        for key, paths in named_files(settings).items()
    }
