"""What every service stands on: serving, errors, settings, identity, database, bus, self-telemetry."""
