"""SQL: the catalog with its history, the audit log, and identities."""
