"""
The relay beside Envoy: its only source of configuration and secrets, on a Unix socket.

                     ┌──────────────── relay ─────────────────┐
    Envoy ══delta══▶ │ session ◀──▶ gateway (mTLS, identity   │ ══delta══▶ gateway
     (socket)        │    │         `edge`)                   │
                     │    ├──▶ shelf: what Envoy acknowledged │ ──▶ disk
                     │    └──▶ secrets: own keys, never sent  │
    gRPC clients ═══▶│ pipe: state of the world, byte by byte │ ═════════▶ gateway
                     └────────────────────────────────────────┘

While the gateway is away, Envoy is served from the shelf; when it is back, the same
stream goes on with it, and nothing that Envoy holds is sent again.
"""
