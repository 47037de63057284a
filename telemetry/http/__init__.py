"""Prometheus's HTTP API, so that Grafana and other clients of Prometheus work unchanged."""

from telemetry.http.api import make_app


__all__ = ["make_app"]
