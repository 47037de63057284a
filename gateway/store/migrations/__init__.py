"""The schema, one file a change; applied in order by `meshkit.postgres.migrate`."""
