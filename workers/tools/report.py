"""What a check has to say: its findings, and how much it has looked at."""

from __future__ import annotations

from typing import Final

import msgspec

MAX_FINDINGS: Final = 200


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong: in which store and tree, at which key, and what.

    A tree of an extension is named EXTENSION.TREE, its key is the owner and the extension's own.
    """

    store: str
    tree: str
    key: str
    problem: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.store, self.tree, self.key))) + ": " + self.problem


class Report(msgspec.Struct):
    """What a check has found; of the findings the first are kept, and all are counted."""

    stores: int = 0
    items: int = 0
    total: int = 0
    findings: list[Finding] = []

    def add(self, store: str, tree: str, key: str, problem: str) -> None:
        """Note a finding."""
        self.total += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(store, tree, key, problem))
