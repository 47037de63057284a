"""Dashboards that come with telemetry: a YAML file each, the contract's Dashboard as it stands."""

from __future__ import annotations

from importlib import resources
from typing import Any

import yaml

from telemetry.dashboards.store.dashboards import Stored, etag_of


def read_shipped() -> dict[str, Stored]:
    """Return them by id, in order."""
    folder = resources.files("telemetry.dashboards.files")
    found: dict[str, Stored] = {}
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        if entry.name.endswith(".yaml"):
            spec: dict[str, Any] = yaml.load(entry.read_text(), yaml.CSafeLoader)
            dashboard = entry.name.removesuffix(".yaml")
            found[dashboard] = Stored(
                id=dashboard,
                revision=0,
                spec=spec,
                etag=etag_of(spec),
                create_time=None,
                update_time=None,
            )
    return found
