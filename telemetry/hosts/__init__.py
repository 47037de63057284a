"""What telemetry itself sees: the machine it runs on, and the PostgreSQL it is given."""
