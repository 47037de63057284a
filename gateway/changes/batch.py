"""The revisions of one change, as they come from the database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.kinds import BY_CLASS


if TYPE_CHECKING:
    from gateway.store.rows import Revision


@dataclass(slots=True)
class Batch:
    """A change, of which some revisions may not have come yet."""

    first: int
    last: int = 0
    clusters: set[str] = field(default_factory=set)
    """Services that get calls by what was changed."""

    def add(self, revision: Revision) -> None:
        """Take in one of its revisions."""
        self.last = revision.revision
        service, is_route, _ = revision.object.partition("/routes/")
        if is_route or service.startswith("services/"):
            self.clusters.add(service)
        if revision.stored is not None:
            needed = BY_CLASS[type(revision.stored.value)].references(revision.stored.value)
            self.clusters.update(name for name in needed if name.startswith("services/"))
