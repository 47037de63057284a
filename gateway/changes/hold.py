"""What the other edges are configured from while some have a change first."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.changes.linger import Lingering
from gateway.compile.compiler import Compiled, compile_all, compile_changes
from gateway.kinds import BY_CLASS
from gateway.xds.feed import Flavour


if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.compile.inputs import Inputs
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Object
    from gateway.store.rows import Revision
    from gateway.xds.feed import Feed


@dataclass(slots=True, kw_only=True)
class Hold:
    """A change that only some edges have."""

    first: int
    last: int
    edges: frozenset[str]
    """Node ids of those that have it."""

    before: dict[str, Object | None] = field(default_factory=dict)
    """What its objects were; None: not there."""

    services: set[str] = field(default_factory=set)
    """Services that it is about: whose answers tell how it does."""

    def about(self, *values: Object | None) -> None:
        """Take note of what an object was or is."""
        for value in values:
            if value is not None:
                named = {value.name, *BY_CLASS[type(value)].references(value)}
                self.services.update(
                    n for n in named if n.startswith("services/") and "/routes/" not in n
                )


class Holding:
    """The change that is held, if there is one, and what the others get meanwhile."""

    def __init__(self, linger_s: float) -> None:
        """*linger_s* is how long clusters that nothing points at any more stay at the edges."""
        self.hold: Hold | None = None
        self.compiled: Compiled | None = None
        """What the others get; None: the same as all."""

        self._lingering = Lingering(linger_s)
        self._first: Lingering | None = None
        """What lingers at the first edges."""

        self._ended: set[str] = set()
        """Objects that were held back and may not have reached the others yet."""

    def begin(self, hold: Hold, inputs: Inputs, options: EdgeOptions) -> None:
        """Hold back a change that *inputs* have."""
        self.hold = hold
        for name, value in hold.before.items():
            hold.about(value, inputs.catalog.get(name))
        self.compiled = compile_all(_without(inputs, hold.before), options)

    def note(self, revisions: Sequence[Revision], catalog: Catalog) -> None:
        """Take note of *revisions*, which follow *catalog*: some may be of a change to hold back."""
        made: dict[str, Object | None] = {}
        for one in revisions:
            value = one.stored.value if one.stored else None
            if one.canary is not None:
                before = made.get(one.object, catalog.get(one.object))
                self._add(one, before, value)
            else:
                made[one.object] = value

    def _add(self, one: Revision, before: Object | None, value: Object | None) -> None:
        assert one.canary is not None, "only asked of such"
        if self.hold is None or self.hold.first != one.change_first:
            # That it ended hasn't been seen here, yet another couldn't have begun before.
            self._ended.update(self.hold.before if self.hold is not None else ())
            edges = frozenset(one.canary["edges"])
            self.hold = Hold(first=one.change_first, last=one.revision, edges=edges)
        self.hold.last = one.revision
        self.hold.before.setdefault(one.object, before)
        self.hold.about(before, value)

    def end(self) -> None:
        """Hold nothing back any more."""
        self.hold = self.compiled = None

    def compile(
        self,
        base: Compiled,
        inputs: Inputs,
        options: EdgeOptions,
        changed: Collection[str],
        moved: Collection[str],
    ) -> None:
        """Compile what the others get of *inputs*; *base* is what all had before, if all had it."""
        if self.hold is None:
            return
        held = _without(inputs, self.hold.before)
        changed = {*changed, *(name.partition("/routes/")[0] for name in self._ended)}
        self._ended.clear()
        self.compiled = compile_changes(self.compiled or base, held, options, changed, moved)

    def publish(self, feed: Feed, compiled: Compiled, now: float) -> None:
        """Publish to *feed* what edges get when *compiled* is the newest."""
        if self.hold is not None and self._first is None:
            self._first = self._lingering.fork()
        first = self._first.over(compiled.edge, now) if self._first is not None else None
        if self.hold is None and self._first is not None:
            self._lingering.join(self._first)
            self._first = first = None
        others = self.compiled or compiled
        feed.publish(Flavour.EDGE, self._lingering.over(others.edge, now))
        feed.serve_first(self.hold.edges if self.hold is not None else frozenset(), first)

    def deadline(self) -> float | None:
        """Return when the next of what lingers goes for good; None: nothing does."""
        both = (self._lingering.deadline(), self._first.deadline() if self._first else None)
        return min((one for one in both if one is not None), default=None)


def _without(inputs: Inputs, before: Mapping[str, Object | None]) -> Inputs:
    catalog = inputs.catalog.with_objects(inputs.catalog.revision, before)
    return dataclasses.replace(inputs, catalog=catalog)
