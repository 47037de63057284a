"""Every part of a mesh, a row each. To add a part, add a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from meshctl import exits
from meshctl.faults import MeshctlError
from meshctl.parts import bus, demo, edge, services, watching
from meshctl.parts.part import Part
from meshctl.site import Site


DATABASES = ("gateway", "notifier", "syncd", "telemetry")


def parts(site: Site) -> Sequence[Part]:
    """
    The parts of the mesh at *site*, in the order they are shown in.

    Raises:
        MeshctlError: A part to do without doesn't exist.

    """
    rows = all_parts(site)
    names = [row.name for row in rows]
    left_out = set(site.options.without)
    if unknown := left_out.difference(names):
        raise MeshctlError(
            f"There is no part {', '.join(sorted(unknown))}.",
            f"one of: {', '.join(names)}",
            exit_code=exits.CONFIG,
        )
    return [
        replace(
            row,
            needs=[name for name in row.needs if name not in left_out],
            calls=[name for name in row.stopped_before if name not in left_out],
        )
        for row in rows
        if row.name not in left_out
    ]


def all_parts(site: Site) -> Sequence[Part]:
    """A row for each part."""
    rows = [
        services.postgres(site, DATABASES),
        services.gateway(site),
        bus.nats(site),
        edge.preflight(site),
        edge.relay(site),
        edge.envoy(site),
        services.service(
            site,
            "notifier",
            calls=("mailsink", "nats", "telemetry"),
            smtp_address=site.address("mailsink"),
        ),
        services.service(site, "syncd", calls=("nats", "telemetry")),
        watching.telemetry(site),
        demo.mailsink(site),
        watching.deadman(site),
    ]
    if site.options.demo:
        rows += [demo.flightinfo(site), demo.devices(site)]
    return rows
