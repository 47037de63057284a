"""
What the preflight's Envoy is given: the edge's configuration, made harmless. Pure.

Its listeners stand on abstract Unix sockets (on the edge's own address it would get real
requests), it checks no endpoint's health and ejects none, and its secrets are stand-ins.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.compile.envoy_api import make, message_class
from gateway.compile.sources import PUBLIC_SECRET
from gateway.xds.resources import BY_KEY, Resource, Snapshot, resource


if TYPE_CHECKING:
    from collections.abc import Collection

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_LISTENER = "envoy.config.listener.v3.Listener"
_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name

Name = tuple[str, str]
"""A type's key and the name of a resource."""


def harmless(before: Snapshot, after: Snapshot, touched: Collection[Name]) -> Snapshot:
    """
    Return *after* made harmless.

    Args:
        before: What this returned for the snapshot before.
        touched: What differs from that.

    """
    upserts, removals = [], []
    for key, name in touched:
        item = after.of(BY_KEY[key]).get(name)
        rewritten = _rewritten(key, item, before) if item is not None else None
        if rewritten is None:
            removals.append((key, name))
        else:
            upserts.append((key, rewritten))
    return before.changed(after.revision, upserts, removals)


def whole(snapshot: Snapshot) -> list[Name]:
    """Return the names of everything in *snapshot*."""
    return [(key, name) for key, items in snapshot.resources.items() for name in items]


def stand_ins(names: Collection[str], trust: str, key_pem: bytes, chain_pem: bytes) -> Snapshot:
    """Return a snapshot with secrets of these names: one pair for all, its own root as *trust*."""
    pair = {
        "certificate_chain": {"inline_bytes": chain_pem},
        "private_key": {"inline_bytes": key_pem},
    }
    secrets = [make(_SECRET, name=name, tls_certificate=pair) for name in names]
    roots = {"trusted_ca": {"inline_bytes": chain_pem}}
    secrets.append(make(_SECRET, name=trust, validation_context=roots))
    upserts = [
        ("SDS", resource(one.name, one.SerializeToString(deterministic=True))) for one in secrets
    ]
    return Snapshot().changed(0, upserts)


def _stand_in(item: Resource, before: Snapshot) -> Resource:
    """Return a secret of the same kind that opens nothing: a real one is for edges only."""
    made = message_class(_SECRET).FromString(item.value)
    if made.HasField("generic_secret"):
        made.generic_secret.secret.inline_string = "a stand-in"
    else:
        made = message_class(_SECRET).FromString(before.of(BY_KEY["SDS"])[PUBLIC_SECRET].value)
        made.name = item.name
    return resource(item.name, made.SerializeToString(deterministic=True))


def _rewritten(key: str, item: Resource, before: Snapshot) -> Resource | None:
    if key == "SDS":
        return _stand_in(item, before)
    if key == "CDS":
        cluster = message_class(_CLUSTER).FromString(item.value)
        cluster.ClearField("health_checks")
        cluster.ClearField("outlier_detection")
        return resource(item.name, cluster.SerializeToString(deterministic=True))
    if key == "LDS":
        listener = message_class(_LISTENER).FromString(item.value)
        if listener.HasField("udp_listener_config"):
            return None  # A Unix socket has no QUIC.
        listener.ClearField("address")
        listener.address.pipe.path = f"@aerofusion/preflight/{item.name}/{os.getpid()}"
        listener.ClearField("enable_reuse_port")
        return resource(item.name, listener.SerializeToString(deterministic=True))
    return item
