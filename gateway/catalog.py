"""Changing the catalog: what must hold between its objects, and requests that come twice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway import fits, hosts, validation
from gateway.kinds import BY_CLASS, kind_of
from gateway.model import Object, Route, Service
from meshkit.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)


if TYPE_CHECKING:
    from gateway.described import Described
    from gateway.identity.seal import Seal
    from gateway.store.catalog import CatalogStore, Change, Revision, Stored

Edit = Callable[["Stored | None"], Object]
"""What the object shall be, given what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestId:
    """The name of a request, and the hash of what it asks for."""

    id: str
    """Empty: the request has no name, and counts each time it comes."""

    digest: bytes


class CatalogWriter:
    """Writes to the catalog. A change and its audit record are one transaction."""

    def __init__(
        self,
        store: CatalogStore,
        *,
        changed: Callable[[Sequence[Revision]], None],
        seal: Seal,
        described: Described,
    ) -> None:
        """
        *changed* is called after each change with what it made, and must not block.

        *seal* is what secrets are kept under, *described* what descriptors have to go with.
        """
        self._store = store
        self._described = described
        self._changed = changed
        self._seal = seal
        self.guard: Callable[[Change], Awaitable[None]] | None = None
        """Refuses a change that stands in the way of one that some edges have first."""

    async def create(self, actor: str, request: RequestId, value: Object) -> Stored:
        """
        Add an object.

        Raises:
            MeshError: As `CatalogService` says.

        """
        async with self.change(actor, _needed(value.name, value)) as change:
            before = await _repeated(change, request)
            if before is not None:
                return before
            if await change.get(value.name) is not None:
                kind = "ROUTE" if isinstance(value, Route) else "SERVICE"
                raise AlreadyExists(
                    f"{kind}_EXISTS", f"{value.name} is there already.", name=value.name
                )
            stored = await self._put_alone(change, None, value)
            await _remember(change, request, stored.value.name, stored.revision)
            return stored

    async def update(
        self,
        actor: str,
        request: RequestId,
        name: str,
        edit: Edit,
        *,
        etag: str,
        allow_missing: bool,
    ) -> Stored:
        """
        Make an object what *edit* says; one that stays as it is makes no revision.

        Raises:
            MeshError: As `CatalogService` says.

        """
        async with self.change(actor, _needed(name)) as change:
            repeated = await _repeated(change, request)
            if repeated is not None:
                return repeated
            before = await change.get(name)
            if before is None and not allow_missing:
                raise not_found(name)
            if etag and (before is None or before.etag != etag):
                raise _etag_mismatch(name)
            value = edit(before)
            if before is not None and before.value == value:
                stored = before
            else:
                stored = await self._put_alone(change, before, value)
            await _remember(change, request, name, stored.revision)
            return stored

    async def delete(
        self, actor: str, request: RequestId, name: str, *, etag: str, force: bool = False
    ) -> int:
        """
        Remove an object, with *force* a service's routes too; returns the last revision made.

        Raises:
            MeshError: As `CatalogService` says.

        """
        async with self.change(actor, (name,)) as change:
            answered = await self.answered(change, request)
            if answered is not None:
                return answered
            before = await change.get(name)
            if before is None:
                raise not_found(name)
            if etag and before.etag != etag:
                raise _etag_mismatch(name)
            if isinstance(before.value, Service):
                await _free(change, name, force=force)
            revision = await change.delete(before)
            await _remember(change, request, name, revision)
            return revision

    @contextlib.asynccontextmanager
    async def change(self, actor: str, names: Iterable[str] = ()) -> AsyncIterator[Change]:
        """
        Open the transaction of a change; those who follow the catalog are told at its end.

        Args:
            names: Objects that it will look at.

        """
        async with self._store.change(actor, self._changed, names=names) as change:
            watched = change.canary
            yield change
            still = watched is not None and change.canary == watched
            if self.guard is not None and still and change.made:
                await self.guard(change)

    async def prepared(self, before: Stored | None, value: Object) -> Object:
        """
        Return *value* as it is to be stored: with what only the gateway can fill in.

        Raises:
            MeshError: As `ConfigService` says.

        """
        return hosts.prepared(self._seal, before, value, datetime.now(UTC))

    async def answered(self, change: Change, request: RequestId) -> int | None:
        """
        Return the revision that an earlier request with the same id came to, or None.

        Raises:
            InvalidInput: REQUEST_ID_REUSED.

        """
        answered = await change.answered(request.id) if request.id else None
        if answered is None:
            return None
        _check_digest(request, answered.digest)
        return answered.revision

    async def remember(self, change: Change, request: RequestId, name: str, revision: int) -> None:
        """Remember what a request came to."""
        await _remember(change, request, name, revision)

    async def put(self, change: Change, before: Stored | None, value: Object) -> Stored:
        """
        Write one object; `check_fits` tells whether it goes with the rest, when all is written.

        Raises:
            MeshError: As `CatalogService` says.

        """
        kind = BY_CLASS[type(value)]
        if kind.check is not None:
            kind.check(value)
        if isinstance(value, Route):
            await _check_route_fits(change, value)
        return await change.put(before, value)

    async def check_fits(
        self,
        change: Change,
        before: Mapping[str, Stored | None],
        after: Mapping[str, Stored | None],
    ) -> None:
        """
        Refuse what *change* wrote if it doesn't go with the rest; see `fits.check`.

        Raises:
            MeshError: As `ConfigService` says.

        """
        await fits.check(change, before, after, self._described)

    async def _put_alone(self, change: Change, before: Stored | None, value: Object) -> Stored:
        """Write one object that is all of a change."""
        stored = await self.put(change, before, value)
        await self.check_fits(change, {value.name: before}, {value.name: stored})
        return stored


def _needed(name: str, value: Object | None = None) -> list[str]:
    """Return the names of what a change of *name* looks at, if it comes to be *value*."""
    references = BY_CLASS[type(value)].references(value) if value is not None else ()
    return [name, name.partition("/routes/")[0], *references]


async def _repeated(change: Change, request: RequestId) -> Stored | None:
    """Return what the same request came to before, or None."""
    if not request.id:
        return None
    answered = await change.answered(request.id)
    if answered is None:
        return None
    _check_digest(request, answered.digest)
    return await change.as_of(answered.object, answered.revision)


async def _remember(change: Change, request: RequestId, name: str, revision: int) -> None:
    if request.id:
        await change.answer(request.id, request.digest, name, revision)


def _check_digest(request: RequestId, digest: bytes) -> None:
    if request.digest != digest:
        raise InvalidInput(
            "REQUEST_ID_REUSED",
            "The request_id came with another request before; make a new one.",
            field_violations={"request_id": "used for another request"},
            request_id=request.id,
        )


async def _check_route_fits(change: Change, route: Route) -> None:
    parent = await change.get(route.service)
    if parent is None:
        raise not_found(route.service)
    assert isinstance(parent.value, Service), "a route's parent is a service"
    validation.check_route(route, parent.value)
    for name in BY_CLASS[Route].references(route):
        if name != route.service and await change.get(name) is None:
            raise not_found(name)


async def _free(change: Change, name: str, *, force: bool) -> None:
    """Refuse to remove a service that others need; with *force* remove its own routes."""
    own = await change.routes_of(name)
    own_names = {route.value.name for route in own}
    foreign = [one for one in await change.referring(name) if one not in own_names]
    if foreign or (own and not force):
        needing = (foreign or sorted(own_names))[0]
        raise FailedPrecondition(
            "SERVICE_IN_USE", f"{needing} needs it; delete that first.", route=needing
        )
    for one in own:
        await change.delete(one)


def not_found(name: str) -> NotFound:
    """Return the error for an object that isn't there."""
    key = kind_of(name).key
    kind = key.upper() if key in ("service", "route") else "OBJECT"
    return NotFound(f"{kind}_NOT_FOUND", f"There is no {name}.", name=name)


def _etag_mismatch(name: str) -> Conflict:
    return Conflict("ETAG_MISMATCH", f"{name} has been changed since; read it again.", name=name)
