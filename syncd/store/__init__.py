"""What syncd keeps in PostgreSQL: spaces, cells, the journal, remembered mutations."""
