"""Template versions that were read before: they never change, so they are kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from notifier.model import Template
    from notifier.store.templates import TemplateStore

KEPT_MAX = 1_024


class Catalog:
    """Reads template versions, each once as long as it stays among the last used."""

    def __init__(self, store: TemplateStore) -> None:
        self._store = store
        self._kept: OrderedDict[tuple[str, str, int], Template] = OrderedDict()

    async def template(self, tenant: str, template: str, version: int) -> Template:
        """Return a version of a template; raises `NotFound` or `Unavailable`."""
        key = (tenant, template, version)
        found = self._kept.get(key)
        if found is None:
            found = await self._store.get(tenant, template, version=version)
            self._kept[key] = found
            if len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found
