"""Dashboards that come with telemetry."""
