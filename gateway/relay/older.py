"""
What Envoys before 1.40 call their counters, in the words of 1.40.

There, a filter that comes by ECDS counts below `extension_config_discovery.http_filter.` and its own
name, and nothing of that becomes a tag.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final


_OF_FILTER: Final = re.compile(
    r"extension_config_discovery\.http_filter\..+?"
    r"\.(?P<kind>rbac|jwt_authn)\."
    r"(?:(?P<prefix>[a-z]+_)\.)?"
    r"(?:policy\.(?P<policy>.+)\.)?"
    r"(?P<counted>[a-z_]+)"
)
_PREFIX: Final = "edge"
"""Of the connection manager's counters."""


def renamed(name: str, tags: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
    """Return a metric's name and tags as the newest Envoy has them."""
    found = _OF_FILTER.fullmatch(name)
    if found is None:
        return name, tags
    made = {**tags, "envoy.http_conn_manager_prefix": _PREFIX}
    if found["prefix"]:
        made["envoy.rbac_http_prefix"] = found["prefix"]
    if found["policy"]:
        made["envoy.rbac_policy_name"] = found["policy"]
    middle = ".policy" if found["policy"] else ""
    return f"http.{found['kind']}{middle}.{found['counted']}", made
