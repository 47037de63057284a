"""From the log into the tables: a segment at a time, whole or not at all."""
