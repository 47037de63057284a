"""Where operators of this machine reach the mesh. Apart from its parts: most verbs need just that."""

from __future__ import annotations

from pathlib import Path


def gateway_socket(run: Path) -> Path:
    """Where the gateway lets operators of this machine in."""
    return run / "gateway" / "gateway.sock"


def telemetry_socket(run: Path) -> Path:
    """Where telemetry lets operators of this machine in, over gRPC."""
    return run / "telemetry" / "telemetry.sock"
