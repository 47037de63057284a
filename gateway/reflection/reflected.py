"""What services told of themselves, laid over the catalog."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from gateway.compile.merged import Merged
from gateway.model import Service


if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.model import Catalog, Object


class Reflected:
    """The newest descriptors of each service with `reflect`. Where they can't be used, the ones before."""

    def __init__(self, merged: Merged | None = None) -> None:
        """*merged* is the memory of what all of them come to; None: one of its own."""
        self._merged = merged or Merged()
        self.known: dict[str, bytes] = {}
        """By the service's name."""

    def put(self, catalog: Catalog, service: str, descriptor_set: bytes) -> bool:
        """
        Take what *service* told; returns whether it is something else than before.

        Raises:
            InvalidDescriptors: It doesn't go with what other services in *catalog* have.

        """
        if self.known.get(service) == descriptor_set:
            return False
        value = catalog.services.get(service)
        if value is not None and value.json_prefixes:
            sets = {
                name: one.descriptor_set
                for name, one in catalog.services.items()
                if one.json_prefixes and one.descriptor_set
            }
            self._merged.of({**sets, service: descriptor_set})
        self.known[service] = descriptor_set
        return True

    def over(self, objects: Mapping[str, Object | None]) -> dict[str, Object | None]:
        """Return those of *objects* that reflect, with the descriptors they told."""
        return {
            name: dataclasses.replace(value, descriptor_set=self.known[name])
            for name, value in objects.items()
            if isinstance(value, Service) and value.reflect and name in self.known
        }
