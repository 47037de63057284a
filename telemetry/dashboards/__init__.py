"""Dashboards: kept as data, shipped as files, translated from Grafana's, followed live."""
