"""Objects of the catalog as files: read with places, written, and compared. Pure but for files."""
