"""Rules, alerts and silences in PostgreSQL."""
