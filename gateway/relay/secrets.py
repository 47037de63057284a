"""The relay's own resources: certificates, keys and roots for Envoy, by SDS on its stream."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any, Final

from gateway.compile.envoy_api import TYPE_URL, make
from gateway.relay.messages import item_of


if TYPE_CHECKING:
    from gateway.relay.session import Item
    from meshkit.identity import KeyMaterial

_SECRET: Final = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name
SECRET_TYPE: Final = TYPE_URL + _SECRET

EDGE: Final = "edge"
"""The workload's certificate and key, for connections to services."""
EDGE_PUBLIC: Final = "edge_public"
"""The certificate and key of the public listener."""
TRUST: Final = "trust"
"""The roots that peers' certificates must come from."""
RESERVED: Final = {SECRET_TYPE: frozenset({EDGE, EDGE_PUBLIC, TRUST})}
"""Names that only the relay answers for; hosts' certificates come from the gateway."""


class Secrets:
    """The secrets as they are now. `table` is a live view of them by name."""

    def __init__(self) -> None:
        self.table: dict[str, Item] = {}
        self._changed = asyncio.Event()

    def set_workload(self, material: KeyMaterial) -> None:
        """Serve *material* as `edge`, and its roots as `trust`."""
        trust = {"trusted_ca": {"inline_bytes": material.bundle_pem}}
        self._put(EDGE, tls_certificate=_pair(material.key_pem, material.chain_pem))
        self._put(TRUST, validation_context=trust)

    def set_public(self, key_pem: bytes, chain_pem: bytes) -> None:
        """Serve this pair as `edge_public`."""
        self._put(EDGE_PUBLIC, tls_certificate=_pair(key_pem, chain_pem))

    async def change(self) -> None:
        """Return once a secret has changed after this call."""
        await self._changed.wait()

    def _put(self, name: str, **content: Any) -> None:
        secret = make(_SECRET, name=name, **content)
        version = hashlib.sha256(secret.SerializeToString(deterministic=True)).hexdigest()[:16]
        known = self.table.get(name)
        if known is None or known.version != version:
            self.table[name] = item_of(name, version, secret)
            self._changed.set()
            self._changed = asyncio.Event()


def _pair(key_pem: bytes, chain_pem: bytes) -> dict[str, Any]:
    return {
        "certificate_chain": {"inline_bytes": chain_pem},
        "private_key": {"inline_bytes": key_pem},
    }
