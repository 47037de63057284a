"""Every part of a mesh, a row each. To add a part, add a row."""

from __future__ import annotations

from collections.abc import Sequence

from meshctl.parts import bus, demo, edge, services
from meshctl.parts.part import Part
from meshctl.site import Site


DATABASES = ("gateway", "notifier", "syncd")


def parts(site: Site) -> Sequence[Part]:
    """The parts of the mesh at *site*, in the order they are shown in."""
    rows = [
        services.postgres(site, DATABASES),
        services.gateway(site),
        bus.nats(site),
        edge.relay(site),
        edge.envoy(site),
        services.service(
            site,
            "notifier",
            calls=("mailsink", "nats", "telemetry"),
            smtp_address=site.address("mailsink"),
        ),
        services.service(site, "syncd", calls=("nats", "telemetry")),
        services.service(
            site,
            "telemetry",
            database=False,
            ports=("http_listen",),
            state_dir=str(site.folder("telemetry")),
            http_unix_socket=str(site.socket("telemetry", "http")),
        ),
        demo.mailsink(site),
    ]
    if site.options.demo:
        rows += [demo.flightinfo(site), demo.devices(site)]
    return rows
