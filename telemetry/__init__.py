"""Observability: OTLP in; metrics, logs and traces out."""
