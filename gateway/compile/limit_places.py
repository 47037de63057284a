"""Which filter keeps which limit, and so which filters the calls of a gRPC service need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from gateway.compile import limit_quotas
from gateway.limits.reach import reach_of
from gateway.model import Strength


if TYPE_CHECKING:
    from gateway.compile.inputs import Delta
    from gateway.compile.limit_quotas import Found
    from gateway.compile.options import EdgeOptions
    from gateway.model import Catalog, Service

KEYS: Final = "limit_keys"
LOCAL: Final = "limit_local"
LOCAL_SHADOW: Final = "limit_local_shadow"
"""Those in the shadow: in one filter with others Envoys before 1.40 let a call through that one of
these has something left for."""

STRICT: Final = "limit_strict"
FILTERS: Final = (KEYS, *limit_quotas.FILTERS, LOCAL_SHADOW, LOCAL, STRICT)
"""In their order."""


@dataclass(frozen=True, slots=True)
class Needed:
    """The filters of limits that calls need."""

    always: frozenset[str] = frozenset()
    """All calls."""

    more: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Calls of some gRPC services, by full name."""

    @classmethod
    def of(cls, catalog: Catalog, options: EdgeOptions) -> Needed:
        if not catalog.limits:
            return cls()
        always: set[str] = set()
        more: dict[str, frozenset[str]] = {}
        for name, found in placed(catalog, options).items():
            for _, reach in found:
                if reach.everything:
                    always.add(name)
                for one in reach.owners:
                    more[one] = more.get(one, frozenset()) | {name}
        return cls(frozenset(always), more)

    def by(self, grpc_service: str) -> Sequence[str]:
        """Return what calls of *grpc_service* need, in the order of the filters."""
        wanted = self.always | self.more.get(grpc_service, frozenset())
        return [name for name in FILTERS if name in wanted] if wanted else ()


def placed(catalog: Catalog, options: EdgeOptions) -> Mapping[str, Sequence[Found]]:
    """Return the limits that each filter of `FILTERS` has; the first has to do with all of them."""
    every = [(limit, reach_of(limit, catalog)) for _, limit in sorted(catalog.limits.items())]
    every = [(limit, reach) for limit, reach in every if not reach.nothing]
    by = {kind: [one for one in every if one[0].strength is kind] for kind in Strength}
    slots, shares = limit_quotas.divided(by[Strength.QUOTA], options)
    local = [*by[Strength.LOCAL], *shares]
    return {
        KEYS: every,
        **dict(zip(limit_quotas.FILTERS, slots, strict=True)),
        LOCAL_SHADOW: [one for one in local if one[0].shadow],
        LOCAL: [one for one in local if not one[0].shadow],
        STRICT: by[Strength.STRICT],
    }


def concerned(delta: Delta) -> bool:
    """Return whether the configs of the filters may differ after a change."""
    if delta.touches("limits"):
        return True
    limits = delta.after.catalog.limits.values()
    named = {name for limit in limits for name in limit.scope.services}
    return any(name in named for name in delta.changed)


def services_affected(delta: Delta, options: EdgeOptions) -> Iterable[str]:
    """Return the services whose calls need other filters than before."""
    if delta.first or not concerned(delta):
        return ()
    before, after = (Needed.of(one.catalog, options) for one in (delta.before, delta.after))
    if before == after:
        return ()
    return _differing(delta.after.catalog.services.values(), before, after)


def _differing(services: Iterable[Service], before: Needed, after: Needed) -> Iterator[str]:
    for service in services:
        if any(before.by(one) != after.by(one) for one in service.grpc_services):
            yield service.name
