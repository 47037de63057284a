"""Where Envoy gets the rest from: everything over the one ADS stream."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gateway.compile.envoy_api import TYPE_URL, duration


# Names of the secrets that the relay beside Envoy answers for.
CERTIFICATE_SECRET = "edge"  # noqa: S105  a name
"""The edge's own certificate, for connections to services."""
PUBLIC_SECRET = "edge_public"  # noqa: S105  a name
"""The certificate that clients are shown."""
TRUST_SECRET = "trust"  # noqa: S105  a name
"""The roots that services' certificates must come from."""

_FETCH_TIMEOUT = timedelta(seconds=5)


def ads() -> dict[str, Any]:
    """Return the config source "over ADS"; Envoy goes on without the resource after 5 s."""
    return {
        "ads": {},
        "resource_api_version": "V3",
        "initial_fetch_timeout": duration(_FETCH_TIMEOUT),
    }


def secret(name: str) -> dict[str, Any]:
    """Return the reference to a secret of the relay's."""
    return {"name": name, "sds_config": ads()}


def extension(name: str, message: str) -> dict[str, Any]:
    """Return the HTTP filter *name*, whose config, a *message*, comes by ECDS."""
    return {
        "name": name,
        "config_discovery": {"config_source": ads(), "type_urls": [TYPE_URL + message]},
    }
