"""Everything that configuration is made of, besides the edge's settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from gateway.compile.merged import Merged
from gateway.model import Catalog, Endpoint, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """One state of all that can change while the gateway runs. A change makes a new one."""

    catalog: Catalog = field(default_factory=Catalog)
    jwks: str = ""
    """The mesh's own keys that tokens are verified with, as a JSON Web Key Set."""

    key_jwks: str = ""
    """The keys that API keys are verified with; "" while there are none."""

    issuer_keys: Mapping[str, str] = field(default_factory=dict)
    """Key sets fetched for issuers, by the issuer's name."""

    revoked: tuple[str, ...] = ()
    """Ids of the tokens that are revoked, sorted; the newest may be missing."""

    revoked_lately: tuple[str, ...] = ()
    """Those that were revoked last, sorted; some are in `revoked`, too."""

    found: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)
    """Endpoints that discovery found, by the service's name."""

    unseal: Callable[[str, str], str | None] = field(
        default=lambda _sealed, _name: None, repr=False, compare=False
    )
    """Opens a secret that was sealed for the object named; None: it can't be opened."""

    merged: Merged = field(default_factory=Merged, repr=False, compare=False)
    """The descriptors of all JSON APIs as one. A memory, handed on from state to state, that makes
    no difference to what anything is compiled to."""

    def endpoints_of(self, service: Service) -> tuple[Endpoint, ...]:
        """Return where *service* is: what the catalog says, and what was found."""
        found = self.found.get(service.name, ())
        if not service.endpoints or not found:
            return service.endpoints + found
        # Clients refuse an endpoint that is there twice; the catalog's word counts.
        named = {(one.address, one.port) for one in service.endpoints}
        return service.endpoints + tuple(
            one for one in found if (one.address, one.port) not in named
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """From one state to the next."""

    before: Inputs
    after: Inputs
    changed: Collection[str]
    """Names of the objects that differ; a service also if only a route of it does."""

    moved: Collection[str] = ()
    """Names of services of which only the endpoints found differ."""

    first: bool = False
    """There was nothing before."""

    def touches(self, *collections: str) -> bool:
        """Return whether objects of one of *collections* differ."""
        beginnings = tuple(f"{one}/" for one in collections)
        return self.first or any(name.startswith(beginnings) for name in self.changed)

    def differs(self, field: str) -> bool:
        """Return whether an input besides the catalog differs."""
        same = getattr(self.before, field) == getattr(self.after, field)
        return self.first or not same
