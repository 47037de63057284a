"""The newest snapshots, and who waits for them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from gateway.xds.resources import Snapshot
from gateway.xds.verdicts import Verdicts


if TYPE_CHECKING:
    from collections.abc import Callable


class Flavour(enum.Enum):
    """
    What a client is configured as.

    A client's node says what it is: Envoy calls itself `envoy` in `user_agent_name`, whatever
    variant of the protocol it speaks; everything else is a gRPC client ("gRPC C-core" and so
    on) and gets only what gRPC's own xDS client supports. An Envoy of the cluster `preflight`
    takes no requests: it is there to say what it makes of a change.
    """

    EDGE = "edge"
    PROXYLESS = "proxyless"
    PREFLIGHT = "preflight"

    @classmethod
    def of(cls, user_agent_name: str, cluster: str = "") -> Flavour:
        """Return the flavour for a client that calls itself so."""
        if user_agent_name == "envoy" and cluster == cls.PREFLIGHT.value:
            return cls.PREFLIGHT
        return cls.EDGE if user_agent_name == "envoy" else cls.PROXYLESS


class Feed:
    """What is compiled, less what was refused, for the streams of this process."""

    def __init__(self) -> None:
        self.verdicts = {flavour: Verdicts() for flavour in Flavour}
        self._compiled = {flavour: Snapshot() for flavour in Flavour}
        self._served = dict(self._compiled)
        self._wakers: dict[Flavour, set[Callable[[], None]]] = {f: set() for f in Flavour}

    def publish(self, flavour: Flavour, snapshot: Snapshot) -> None:
        """Make *snapshot* the newest and wake who waits."""
        self._compiled[flavour] = snapshot
        self.verdicts[flavour].forget(snapshot)
        self.reconsider(flavour)

    def reconsider(self, flavour: Flavour) -> None:
        """Apply the verdicts anew: one has been given or lifted."""
        served = self.verdicts[flavour].apply(self._compiled[flavour])
        if served is not self._served[flavour]:
            self._served[flavour] = served
            for wake in list(self._wakers[flavour]):
                wake()

    def newest(self, flavour: Flavour) -> Snapshot:
        """Return what is to be served now."""
        return self._served[flavour]

    def watch(self, flavour: Flavour, wake: Callable[[], None]) -> Callable[[], None]:
        """Call *wake*, which must not block, at each change; returns how to stop that."""
        self._wakers[flavour].add(wake)
        return lambda: self._wakers[flavour].discard(wake)
