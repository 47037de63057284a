"""Changes of many objects at once: planned, applied, rolled back, compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gateway import diff, hosts, kinds
from gateway.catalog import not_found
from gateway.fits import about
from gateway.model import Service
from gateway.store.canaries import ROLLED_BACK
from meshkit.errors import Conflict, FailedPrecondition, InvalidInput, MeshError, NotFound


if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.catalog import CatalogWriter, RequestId
    from gateway.diff import ObjectChange
    from gateway.model import Object
    from gateway.store.catalog import CatalogStore, Change, Stored

OBJECTS_MAX: Final = 10_000
_DELETED_LAST = ("service", "certificate", "issuer")
"""Kinds that others need: they come first, and go last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSet:
    """What the catalog shall be made to hold."""

    objects: tuple[Object, ...] = ()
    etags: tuple[str, ...] = ()
    """Of `objects`, one each; empty: whatever is there."""

    deletes: tuple[str, ...] = ()
    prune: tuple[str, ...] = ()
    """What begins with one of these and isn't among `objects` goes, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a change came to."""

    first_revision: int
    """The first it made; above `revision` if it made none."""

    revision: int
    changes: tuple[ObjectChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """Which edges have a change first, and what it is judged by."""

    edges: tuple[str, ...]
    rules: dict[str, float]
    """Fields of `changes.canary.Rules`."""


class _Planned(Exception):
    def __init__(self, applied: Applied) -> None:
        super().__init__()
        self.applied = applied


class ConfigWriter:
    """Writes to the catalog as a whole. A change is one transaction with its audit records."""

    def __init__(self, store: CatalogStore, writer: CatalogWriter) -> None:
        self._store = store
        self._writer = writer
        writer.guard = self._guard

    async def plan(self, actor: str, wanted: ChangeSet) -> Applied:
        """
        Return what `apply` would do, by doing it and taking it back.

        Raises:
            MeshError: As `apply` would.

        """
        try:
            async with self._store.change(actor) as change:
                raise _Planned(await self._apply(change, wanted))
        except _Planned as planned:
            return planned.applied

    async def apply(
        self, actor: str, request: RequestId, wanted: ChangeSet, first: First | None = None
    ) -> Applied:
        """
        Make the catalog hold *wanted*; all of it or nothing. Some edges have it *first*, if given.

        Raises:
            MeshError: As `ConfigService` says.

        """
        async with self._writer.change(actor) as change:
            repeated = await self._writer.answered(change, request)
            if repeated is not None:
                return Applied(first_revision=repeated + 1, revision=repeated, changes=())
            if first is not None and change.canary is not None:
                raise _in_progress(change.canary, "another change can't be watched meanwhile")
            if first is not None:
                change.have_first(first.edges)
            applied = await self._apply(change, wanted)
            if first is not None and applied.changes:
                await change.begin_canary(first.rules)
            await self._writer.remember(change, request, "", applied.revision)
            return applied

    async def end_canary(self, actor: str, revision: int, state: str, reason: str) -> bool:
        """
        Promote a change that some edges had first, or roll it back; False: it had ended.

        Args:
            state: `PROMOTED` or `ROLLED_BACK`.

        Raises:
            MeshError: The database is away.

        """
        async with self._writer.change(actor) as change:
            if change.canary != revision:
                return False
            if state == ROLLED_BACK:
                await self._undo(change, change)
            await change.end_canary(state, reason)
            return True

    async def _guard(self, change: Change) -> None:
        """
        Refuse *change* if what some edges have first couldn't be undone after it.

        One that undoes all of it ends the watch.
        """
        assert change.canary is not None, "only asked while there is one"
        _, before = await change.watched()
        await change.load(before)
        now = {name: await change.get(name) for name in before}
        if all((stored.value if stored else None) == before[name] for name, stored in now.items()):
            await change.end_canary(ROLLED_BACK, f"undone by {change.actor}")
            return
        for one in change.made:
            if one.object in before:
                raise _in_progress(change.canary, f"{one.object} is part of it")
        try:
            async with change.attempt() as attempt:
                await self._undo(change, attempt)
        except MeshError as error:
            why = f"it could not be undone any more: {error}"
            raise _in_progress(change.canary, why) from None

    async def _undo(self, known: Change, change: Change) -> None:
        """Make, in *change*, the objects that *known* says are watched what they were before."""
        _, before = await known.watched()
        await change.load(before)
        there = {name for name in before if await change.get(name) is not None}
        wanted = ChangeSet(
            objects=tuple(value for value in before.values() if value is not None),
            deletes=tuple(n for n, value in before.items() if value is None and n in there),
        )
        await self._apply(change, wanted)

    async def roll_back(
        self, actor: str, request: RequestId, revision: int, *, validate_only: bool
    ) -> Applied:
        """
        Make the catalog what it was at *revision*.

        Raises:
            MeshError: As `ConfigService` says.

        """
        then = await self.as_of(revision)
        now = await self.as_of(0)
        wanted = ChangeSet(
            objects=tuple(one.after.value for one in diff.between(now, then) if one.after),
            deletes=tuple(sorted(now.keys() - then.keys())),
        )
        if validate_only:
            return await self.plan(actor, wanted)
        return await self.apply(actor, request, wanted)

    async def compare(self, before: int, after: int) -> list[ObjectChange]:
        """
        Return what differs between two revisions; 0 for *after* is the newest.

        Raises:
            NotFound: REVISION_NOT_FOUND.

        """
        first = await self.as_of(before) if before else {}
        return diff.between(first, await self.as_of(after))

    async def as_of(self, revision: int) -> dict[str, Stored]:
        """
        Return the catalog at *revision* by name, 0 for the newest; without descriptor sets' text.

        Raises:
            NotFound: REVISION_NOT_FOUND.

        """
        found = await self._store.as_of(revision)
        if found is None:
            raise NotFound(
                "REVISION_NOT_FOUND",
                f"There is no revision {revision} yet.",
                revision=str(revision),
            )
        return found

    async def _apply(self, change: Change, wanted: ChangeSet) -> Applied:
        _check(wanted)
        await change.load(_looked_at(wanted))
        first = change.revision + 1
        before: dict[str, Stored | None] = {}
        after: dict[str, Stored | None] = {}
        etags = dict(zip((one.name for one in wanted.objects), wanted.etags, strict=False))
        doomed = await _doomed(change, wanted)
        await change.load(doomed)
        taken_over = await _taken_over(change, wanted, doomed)
        await _delete(change, wanted, [one for one in doomed if one in taken_over], before, after)
        for value in await _ordered(change, wanted.objects):
            current = await change.get(value.name)
            etag = etags.get(value.name)
            if etag and (current is None or current.etag != etag):
                raise Conflict(
                    "ETAG_MISMATCH",
                    f"{value.name} has been changed since; read it again.",
                    name=value.name,
                )
            with about(value.name):
                value = await self._writer.prepared(current, value)  # noqa: PLW2901
                if current is not None and current.value == value:
                    continue
                before[value.name] = current
                after[value.name] = await self._writer.put(change, current, value)
        rest = [one for one in doomed if one not in taken_over]
        await _delete(change, wanted, rest, before, after)
        await _check_references(change, after)
        await self._writer.check_fits(change, before, after)
        await hosts.check_fits(change, after)
        changes = [
            diff.ObjectChange(name=name, before=before[name], after=after[name])
            for name in sorted(after)
        ]
        return Applied(first_revision=first, revision=change.revision, changes=tuple(changes))


def _looked_at(wanted: ChangeSet) -> Iterator[str]:
    """Yield the names of what is looked at on the way to *wanted*."""
    yield from wanted.deletes
    for value in wanted.objects:
        yield value.name
        yield from kinds.BY_CLASS[type(value)].references(value)


def _check(wanted: ChangeSet) -> None:
    names = [one.name for one in wanted.objects]
    problems = {}
    if len(names) + len(wanted.deletes) > OBJECTS_MAX:
        problems["change_set"] = f"more than {OBJECTS_MAX} objects"
    if len(set(names)) != len(names):
        problems["change_set.objects"] = "one is there twice"
    if set(names) & set(wanted.deletes):
        problems["change_set.deletes"] = "one is among the objects, too"
    for name in wanted.deletes:
        kinds.kind_of(name)
    if problems:
        raise InvalidInput(
            "INVALID_CHANGE", f"The change can't be: {problems}.", field_violations=problems
        )


async def _ordered(change: Change, objects: Sequence[Object]) -> list[Object]:
    """Return *objects* so that what others need comes first, and what gives something up."""
    order = [kind.key for kind in kinds.KINDS if kind.key in _DELETED_LAST]
    order += [kind.key for kind in kinds.KINDS if kind.key not in _DELETED_LAST]
    places = {}
    for value in objects:
        gives_up = False
        if isinstance(value, Service):
            current = await change.get(value.name)
            old = current.value if current else None
            gives_up = isinstance(old, Service) and bool(
                set(old.grpc_services) - set(value.grpc_services)
            )
        places[value.name] = (
            order.index(kinds.BY_CLASS[type(value)].key),
            not gives_up,
            value.name,
        )
    return sorted(objects, key=lambda value: places[value.name])


async def _doomed(change: Change, wanted: ChangeSet) -> list[str]:
    """Return the names of what goes, those that need others first."""
    names = set(wanted.deletes)
    keep = {one.name for one in wanted.objects}
    for prefix in wanted.prune:
        names.update(name for name in await change.names(prefix) if name not in keep)
    for name in sorted(names):
        if kinds.kind_of(name).key == "service":
            names.update(await change.names(f"{name}/routes/"))
    return sorted(names, key=lambda name: (kinds.kind_of(name).key in _DELETED_LAST, name))


async def _taken_over(change: Change, wanted: ChangeSet, doomed: Sequence[str]) -> set[str]:
    """Return those of *doomed* that go first: services of which others offer something now."""
    offered = {
        name for one in wanted.objects if isinstance(one, Service) for name in one.grpc_services
    }
    found = set()
    for name in doomed:
        stored = await change.get(name)
        value = stored.value if stored else None
        if isinstance(value, Service) and offered & set(value.grpc_services):
            found.add(name)
    return found | {name for name in doomed if name.partition("/routes/")[0] in found}


async def _delete(
    change: Change,
    wanted: ChangeSet,
    names: Sequence[str],
    before: dict[str, Stored | None],
    after: dict[str, Stored | None],
) -> None:
    for name in names:
        current = await change.get(name)
        if current is None:
            if name in wanted.deletes:
                raise not_found(name)
            continue
        before[name], after[name] = current, None
        await change.delete(current)


async def _check_references(change: Change, after: dict[str, Stored | None]) -> None:
    """Refuse a catalog in which something needs what isn't there."""
    needed: dict[str, str] = {}
    for name, stored in after.items():
        if stored is None:
            continue
        for other in kinds.BY_CLASS[type(stored.value)].references(stored.value):
            needed.setdefault(other, name)
    for other, name in needed.items():
        if after.get(other) is None and (other in after or await change.get(other) is None):
            raise FailedPrecondition(
                "OBJECT_IN_USE" if other in after else "OBJECT_MISSING",
                f"{name} needs {other}, which is not there.",
                object=name,
                needs=other,
            )
    for name in (name for name, stored in after.items() if stored is None):
        referring = await change.referring(name)
        if referring:
            raise FailedPrecondition(
                "OBJECT_IN_USE",
                f"{referring[0]} needs {name}; change that first, or with it.",
                object=referring[0],
                needs=name,
            )


def _in_progress(canary: int, why: str) -> FailedPrecondition:
    return FailedPrecondition(
        "CANARY_IN_PROGRESS",
        f"Some edges have changes/{canary} first, and it is watched: {why}. Wait for its end.",
        change=f"changes/{canary}",
    )
