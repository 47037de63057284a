"""Everything the relay can be told; read from `RELAY_<FIELD>` once at start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from meshkit.settings import MeshSettings


SOCKET_PATH_LENGTH_MAX = 107
"""Of the kernel."""


@dataclass(frozen=True, kw_only=True)
class Settings(MeshSettings):
    """The relay's settings. It listens on `socket` alone; `listen` has no meaning here."""

    socket: Path = Path("run/relay.sock")
    """Unix socket for Envoy and local gRPC clients. Its folder is made, or must be, 0700."""

    shelf_dir: Path = Path("shelf")
    """Folder of the last configuration that Envoy acknowledged."""

    public_names: str = "localhost,127.0.0.1"
    """DNS names and IP addresses of the public listener, with commas. The join token of
    the edge must grant them."""

    def __post_init__(self) -> None:
        """Object to what no type says. Raises ValueError."""
        if not self.gateway_address:
            raise ValueError("RELAY_GATEWAY_ADDRESS: must be set")
        if len(str(self.socket.absolute())) > SOCKET_PATH_LENGTH_MAX:
            raise ValueError(
                f"RELAY_SOCKET: must be at most {SOCKET_PATH_LENGTH_MAX} characters long"
            )
        if not self.names:
            raise ValueError("RELAY_PUBLIC_NAMES: must name at least one")

    @property
    def names(self) -> frozenset[str]:
        """`public_names`, taken apart."""
        return frozenset(name.strip() for name in self.public_names.split(",") if name.strip())
