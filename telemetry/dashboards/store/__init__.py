"""Dashboards in PostgreSQL."""
