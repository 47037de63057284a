"""
Who a process is, and how it proves that: SPIFFE ids, keys, certificates, mTLS.

    SpiffeId          spiffe.py    the name: spiffe://aerofusion/<service>/<replica>
    KeyMaterial       material.py  key, certificate chain and trusted roots, checked to fit
    IdentityFolder    folder.py    the same on disk, swapped as one
    Workload          workload.py  this process: credentials for servers and clients, renewal
    JoinFile          join.py      the one-time token a process gets its first identity for
    peer_spiffe_id    spiffe.py    who is at the other end of a connection

gRPC's Python clients verify DNS names only, so a certificate carries exactly
one SPIFFE URI (for authorisation) and one DNS name (for the client's check).
"""

from __future__ import annotations

from meshkit.identity.folder import IdentityFolder
from meshkit.identity.join import JoinFile
from meshkit.identity.material import KeyMaterial
from meshkit.identity.spiffe import SpiffeId, certificate_spiffe_id, peer_spiffe_id
from meshkit.identity.workload import Workload


__all__ = [
    "IdentityFolder",
    "JoinFile",
    "KeyMaterial",
    "SpiffeId",
    "Workload",
    "certificate_spiffe_id",
    "peer_spiffe_id",
]
