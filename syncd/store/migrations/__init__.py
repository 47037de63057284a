"""SQL scripts, applied in order at start."""
