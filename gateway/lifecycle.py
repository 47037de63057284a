"""What is on its way out: methods of services that say so, in the catalog or their descriptors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.compile.descriptors import methods


if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.model import Lifecycle, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprecated:
    """A method, or all methods of a gRPC service that nobody has described."""

    service: str
    grpc_service: str
    method: str
    """Empty: every one."""

    described: bool
    """The descriptors say it."""

    lifecycle: Lifecycle | None
    """What the catalog says."""

    @property
    def path(self) -> str:
        """Return the path of its calls; of all methods what their paths begin with."""
        return f"/{self.grpc_service}/{self.method}"


def deprecated(services: Iterable[Service]) -> Iterator[Deprecated]:
    """Yield what of *services* is on its way out, in their order."""
    for service in services:
        ending = {one.grpc_service: one for one in service.lifecycles}
        described = methods(service.descriptor_set) if service.descriptor_set else {}
        for name in service.grpc_services:
            lifecycle = ending.get(name)
            known = [(one.name, one.deprecated) for one in described.get(name, ())]
            for method, says_so in known or [("", False)]:
                if says_so or lifecycle is not None:
                    yield Deprecated(
                        service=service.name,
                        grpc_service=name,
                        method=method,
                        described=says_so,
                        lifecycle=lifecycle,
                    )
