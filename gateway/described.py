"""Whether a service's descriptors go with those of all others, for what a change costs alone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.compile.descriptors import InvalidDescriptors
from gateway.compile.merged import Merged
from meshkit.errors import FailedPrecondition


if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model import Service
    from gateway.store.change import Change


class Described:
    """
    The descriptor sets of all JSON APIs of the catalog, as it was when it was last looked at.

    A memory: what it says depends on the catalog alone. Changes come one at a time.
    """

    def __init__(self, beside: Merged) -> None:
        """*beside* has read most of the sets already."""
        self._merged = Merged(beside.known)
        self._revision = 0
        self._sets: dict[str, bytes] = {}
        """By the service's name, as of `_revision`."""

    async def check(self, change: Change, services: Sequence[Service]) -> None:
        """
        Refuse services whose descriptors don't go with those of the others.

        Args:
            services: What *change* wrote and has other descriptors than before; the first that
                doesn't go with all others and those before it is told.

        Raises:
            FailedPrecondition: DESCRIPTOR_CONFLICT.

        """
        await self._follow(change)
        written = {one.name for one in services}
        given = {
            name: content
            for name, content in {**self._sets, **change.described}.items()
            if content and name not in written
        }
        for service in services:
            given[service.name] = service.descriptor_set
            try:
                # The first time all sets are read.
                await asyncio.to_thread(self._merged.check, given)
            except InvalidDescriptors as error:
                raise FailedPrecondition(
                    "DESCRIPTOR_CONFLICT",
                    f"The descriptor set doesn't go with the other services': {error}.",
                    object=service.name,
                ) from None

    async def _follow(self, change: Change) -> None:
        """Take what others have written, and earlier changes; not what this one has."""
        if change.committed == self._revision:
            return
        hashes = await change.described_since(self._revision)
        contents = await change.descriptor_sets({one for one in hashes.values() if one})
        for name, digest in hashes.items():
            if digest:
                self._sets[name] = contents[digest]
            else:
                self._sets.pop(name, None)
        self._revision = change.committed
